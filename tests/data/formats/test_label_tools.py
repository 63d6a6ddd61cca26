"""What label tools export, by their published schemas: boxes to the pixel, and what no annotation
means."""

import base64
import io
import json
import math
import re
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from support.annotation_files import (
    BOX,
    SIZE,
    X1,
    X2,
    Y1,
    Y2,
    brush_stroke,
    cvat_xml,
    label_studio_annotation,
    label_studio_region,
    label_studio_task,
    labelme_json,
    labelme_shape,
    percent,
    qupath_feature,
    supervisely_figure,
    supervisely_json,
    via_3_project,
    via_entries,
    via_project,
    write_json,
)
from support.layouts import mask, runs_of

from meddistill.base.errors import InputError
from meddistill.data.annotations import AnnotatedObject
from meddistill.data.formats.annotation_format import KnownBeside
from meddistill.data.formats.known_annotation_formats import ANNOTATION_FORMATS, format_of
from meddistill.data.formats.shapes import decode_run_lengths

MASK = mask() > 0


def read(tmp_path, content, name="file.json", beside=None):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else _text(content).encode())
    return format_of(path).read(path, *([beside] if beside else []))


def _text(content):
    return content if isinstance(content, str) else json.dumps(content)


def only(content):
    (image,) = content.images
    (found,) = image.objects
    return found


def meanings(content):
    """By image: its number of objects, and whether somebody looked."""
    return {image.image: (len(image.objects), image.looked_at) for image in content.images}


# --- CVAT


def test_cvat_tells_looked_at_by_a_tag(tmp_path):
    content = read(tmp_path, cvat_xml(), "annotations.xml")
    assert meanings(content) == {"a.png": (1, True), "b.png": (0, True), "c.png": (0, False)}


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (f'<polygon label="m" points="{X1},{Y1};{X2},{Y1};{X2},{Y2}" />', BOX),
        ('<ellipse label="m" cx="10" cy="12" rx="4" ry="2" />', [6, 10, 14, 14]),
        ('<ellipse label="m" cx="10" cy="12" rx="4" ry="2" rotation="90" />', [8, 8, 12, 16]),
        (
            '<box label="m" xtl="4" ytl="10" xbr="12" ybr="14" rotation="90.0" />',
            [6, 8, 10, 16],
        ),
        ('<mask label="m" rle="1, 2, 3" left="6" top="8" width="3" height="2" />', [7, 8, 9, 9]),
    ],
)
def test_cvat_shapes_give_the_box_around_them(tmp_path, shape, box):
    text = f'<annotations><image id="0" name="a.png" width="{SIZE}" height="{SIZE}">{shape}</image></annotations>'
    assert only(read(tmp_path, text, "a.xml")).box_xyxy_px == pytest.approx(box)


def test_cvat_masks_are_rows_within_their_box(tmp_path):
    text = (
        f'<annotations><image id="0" name="a.png" width="{SIZE}" height="{SIZE}">'
        '<mask label="m" rle="1, 2, 3" left="6" top="8" width="3" height="2" /></image></annotations>'
    )
    found = decode_run_lengths(only(read(tmp_path, text, "a.xml")).run_lengths, (SIZE, SIZE))
    assert np.argwhere(found).tolist() == [[8, 7], [8, 8]]


def test_cvat_leaves_out_what_has_no_area_and_rejected_jobs(tmp_path):
    image = '<image id="{0}" name="{0}.png" width="9" height="9">{1}</image>'
    box = '<box label="m" xtl="1" ytl="1" xbr="5" ybr="5" />'
    text = (
        "<annotations><meta><project><tasks><task><jobs><job><state>rejected</state>"
        "<start>0</start><stop>0</stop></job></jobs></task></tasks></project></meta>"
        + image.format(0, box)
        + image.format(1, box + '<polyline label="m" points="1,1;2,2" />')
        + "</annotations>"
    )
    content = read(tmp_path, text, "a.xml")
    assert meanings(content) == {"0.png": (0, False), "1.png": (1, True)}
    assert sorted(content.notes.values()) == [1, 1]


def test_cvat_tracks_are_frames(tmp_path):
    box = '<box frame="{}" outside="{}" keyframe="1" xtl="1" ytl="2" xbr="5" ybr="6" />'
    text = f'<annotations><track id="0" label="m">{box.format(3, 0)}{box.format(4, 1)}</track></annotations>'
    assert meanings(read(tmp_path, text, "a.xml")) == {"frame_000003": (1, True)}


# --- labelme


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (labelme_shape(), BOX),
        (labelme_shape(points=((X2, Y2), (X1, Y1))), BOX),  # drawn from the lower right
        (labelme_shape("polygon", ((X1, Y1), (X2, Y1), (X2, Y2))), BOX),
        (labelme_shape("circle", ((10, 12), (13, 16))), [5, 7, 15, 17]),
    ],
)
def test_labelme_shapes(tmp_path, shape, box):
    found = only(read(tmp_path, labelme_json("a.png", [shape])))
    assert found.box_xyxy_px == pytest.approx(box)
    assert found.class_name == "mass"


def test_labelme_masks_lie_at_their_first_point(tmp_path):
    import base64
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.array([[0, 1, 1], [0, 0, 0]], dtype=np.uint8) * 255).save(file, "PNG")
    shape = labelme_shape("mask", ((6, 8), (8, 9)))
    shape["mask"] = base64.b64encode(file.getvalue()).decode()
    found = only(read(tmp_path, labelme_json("a.png", [shape])))
    assert found.box_xyxy_px == (7, 8, 9, 9)
    assert np.argwhere(decode_run_lengths(found.run_lengths, (SIZE, SIZE))).tolist() == [
        [8, 7],
        [8, 8],
    ]


def test_labelme_without_shapes_was_saved_by_somebody_who_looked(tmp_path):
    assert meanings(read(tmp_path, labelme_json("a.png", []))) == {"a.png": (0, True)}
    line = labelme_shape("line")
    assert meanings(read(tmp_path, labelme_json("a.png", [line]))) == {"a.png": (0, False)}


# --- shapes that are boxes


@pytest.mark.parametrize(
    ("points", "is_rectangle"),
    [
        ((X1, Y1, X2, Y1, X2, Y2, X1, Y2), True),
        ((X1, Y1, X2, Y1, X2, Y2, X1, Y2, X1, Y1), True),
        ((10, 2, 18, 10, 14, 14, 6, 6), True),  # turned
        ((10, 2, 18, 10, 10, 18, 4, 10), False),
        ((X1, Y1, X2, Y1, X2, Y2), False),
        ((4, 4, 18, 4, 14, 12, 8, 12), False),
    ],
)
def test_a_rectangle_that_is_written_as_a_polygon_is_told(points, is_rectangle):
    assert AnnotatedObject("mass", tuple(BOX), (points,)).is_rectangle == is_rectangle


# --- Label Studio


def test_label_studio_predictions_drafts_and_skipped_tasks_are_no_boxes(tmp_path):
    region = label_studio_region()
    skipped = label_studio_annotation([region], was_cancelled=True)
    tasks = [
        label_studio_task(1, "a.png", [label_studio_annotation([region])]),
        label_studio_task(2, "b.png", [label_studio_annotation([])]),
        label_studio_task(3, "c.png", [], [{"result": [region]}]),
        label_studio_task(4, "d.png", [skipped]),
        label_studio_task(5, "e.png", []),
    ]
    content = read(tmp_path, tasks)
    assert list(meanings(content).values()) == [
        (1, True),
        (0, True),
        (0, False),
        (0, False),
        (0, False),
    ]
    assert sum(content.notes.values()) == 2


def without_size(region):
    return {key: value for key, value in region.items() if not key.startswith("original_")}


def test_label_studio_regions_that_state_no_size_are_of_the_picture_s(tmp_path):
    tasks = [
        label_studio_task(
            1, "a.png", [label_studio_annotation([without_size(label_studio_region())])]
        )
    ]
    beside = KnownBeside(size_of=lambda name: (SIZE, SIZE) if name.endswith("a.png") else None)
    assert only(read(tmp_path, tasks, beside=beside)).box_xyxy_px == tuple(BOX)
    (image,) = read(tmp_path, tasks).images
    assert image.problem == "a region states no size of its image, which is not here"


def two_images(number, annotations):
    task = label_studio_task(number, "a.png", annotations)
    return {**task, "data": {"pre": f"a{number}.png", "post": f"b{number}.png", "age": "41"}}


def test_label_studio_tasks_of_two_images_keep_them_apart(tmp_path):
    pre, post = (
        {**label_studio_region(label=name), "to_name": name, "id": name} for name in ("pre", "post")
    )
    tasks = [
        two_images(1, [label_studio_annotation([pre, post])]),
        two_images(2, [label_studio_annotation([post])]),
        two_images(3, []),
    ]
    content = read(tmp_path, tasks)
    drawn = {image.image: [each.class_name for each in image.objects] for image in content.images}
    assert drawn == {
        **{"a1.png": ["pre"], "b1.png": ["post"], "a2.png": [], "b2.png": ["post"]},
        **{"a3.png": [], "b3.png": []},
    }
    assert [image.looked_at for image in content.images] == [True] * 4 + [False] * 2


def test_label_studio_images_beside_the_one_that_is_drawn_on_are_unknown(tmp_path):
    region = {**label_studio_region(), "to_name": "pre"}
    tasks = [two_images(n, [label_studio_annotation([region] * (n == 1))]) for n in (1, 2)]
    assert list(meanings(read(tmp_path, tasks)).items()) == [
        ("a1.png", (1, True)),
        ("a2.png", (0, True)),
    ]


def test_label_studio_says_where_it_is_unclear_which_image_is_meant(tmp_path):
    tasks = [two_images(1, [label_studio_annotation([label_studio_region()])])]
    images = read(tmp_path, tasks).images
    assert {image.problem for image in images} == {
        "its task has 2 images (pre, post), and its regions are on 'image'"
    }
    record = {"pre": "a.png", "post": "b.png", "label": [], "annotation_id": 1}
    images = read(tmp_path, [record]).images
    assert len(images) == 2
    assert all("export JSON" in image.problem for image in images)


def test_label_studio_results_that_are_no_list_are_no_empty_image(tmp_path):
    tasks = [label_studio_task(1, "a.png", [{"id": 1, "result": "gone"}])]
    (image,) = read(tmp_path, tasks).images
    assert image.problem == "its result is no list of regions"


@pytest.mark.parametrize("value", [None, 7, "gone", []])
def test_label_studio_regions_without_a_value_are_no_empty_image(tmp_path, value):
    region = {**label_studio_region(), "value": value}
    tasks = [label_studio_task(1, "a.png", [label_studio_annotation([region])])]
    (image,) = read(tmp_path, tasks).images
    assert image.problem == "a region is damaged"


def test_what_tells_a_tool_may_stand_behind_long_outlines_and_pictures(tmp_path):
    value = {"points": [[n % 90, n % 70] for n in range(2000)], "polygonlabels": ["mass"]}
    size = {"original_width": SIZE, "original_height": SIZE}
    record = {"image": "a.png", "label": [{**value, **size}], "annotation_id": 1}
    assert only(read(tmp_path, [record])).class_name == "mass"
    content = {"imageData": "A" * 9000, **labelme_json("a.png", [labelme_shape()])}
    content = dict(sorted({**content, "imageData": "A" * 9000}.items()))
    assert only(read(tmp_path, content)).box_xyxy_px == tuple(BOX)


def test_label_studio_leaves_out_what_has_no_area(tmp_path):
    point = label_studio_region(
        "keypointlabels", {"x": 20, "y": 30, "width": 0.5, "keypointlabels": ["centre"]}, number="k"
    )
    tasks = [
        label_studio_task(1, "a.png", [label_studio_annotation([label_studio_region(), point])]),
        label_studio_task(2, "b.png", [label_studio_annotation([point])]),
    ]
    content = read(tmp_path, tasks)
    assert list(meanings(content).values()) == [(1, True), (0, False)]
    assert content.notes == {"shapes without an area are left out (keypointlabels)": 2}


def test_label_studio_records_leave_out_key_points(tmp_path):
    size = {"original_width": SIZE, "original_height": SIZE}
    box = label_studio_region()["value"] | size
    point = {"x": 20, "y": 30, "width": 0.5, "keypointlabels": ["centre"], **size}
    records = [{"image": "a.png", "annotation_id": 1, "label": [box], "points": [point]}]
    assert only(read(tmp_path, records)).box_xyxy_px == pytest.approx(BOX)


@pytest.mark.parametrize("opaque", [True, False])
def test_label_studio_bit_masks(tmp_path, opaque):
    file = io.BytesIO()
    pixels = np.repeat(MASK[..., None] * np.uint8(255), 4, axis=2)
    if opaque:
        pixels[..., 3] = 255
    else:
        pixels[..., :3] = 0  # black on nothing
    Image.fromarray(pixels).save(file, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    value = {"format": "bitmask", "imageDataURL": address, "bitmasklabels": ["mass"]}
    region = label_studio_region("bitmasklabels", value)
    found = only(
        read(tmp_path, [label_studio_task(1, "a.png", [label_studio_annotation([region])])])
    )
    assert found.class_name == "mass"
    assert (decode_run_lengths(found.run_lengths, (SIZE, SIZE)) == MASK).all()


def test_label_studio_before_1_0_has_completions(tmp_path):
    task = label_studio_task(1, "a.png", [label_studio_annotation([label_studio_region()])])
    task["completions"] = task.pop("annotations")
    assert list(meanings(read(tmp_path, [task])).values()) == [(1, True)]


@pytest.mark.parametrize(
    ("kind", "value", "box"),
    [
        ("rectanglelabels", None, BOX),
        (
            "polygonlabels",
            {"points": [[percent(x), percent(y)] for x, y in ((X1, Y1), (X2, Y1), (X2, Y2))]},
            BOX,
        ),
        (
            "ellipselabels",
            {"x": percent(10), "y": percent(12), "radiusX": percent(4), "radiusY": percent(2)},
            [6, 10, 14, 14],
        ),
        (
            "rectanglelabels",
            {
                "x": percent(10),
                "y": percent(8),
                "width": percent(8),
                "height": percent(4),
                "rotation": 90,
            },
            [6, 8, 10, 16],
        ),
        ("brushlabels", {"format": "rle", "rle": brush_stroke(MASK)}, BOX),
        ("brushlabels", {"format": "rle", "rle": brush_stroke(MASK, runs=False)}, BOX),
    ],
)
def test_label_studio_regions(tmp_path, kind, value, box):
    region = label_studio_region(kind, value)
    task = label_studio_task(1, "a.png", [label_studio_annotation([region])])
    found = only(read(tmp_path, [task]))
    assert found.box_xyxy_px == pytest.approx(box)
    assert found.class_name == "mass"
    if kind == "brushlabels":
        assert (decode_run_lengths(found.run_lengths, (SIZE, SIZE)) == MASK).all()


def test_label_studio_min(tmp_path):
    value = {**label_studio_region()["value"], "original_width": SIZE, "original_height": SIZE}
    record = {
        "image": "/data/upload/1/1234abcd-a.png",
        "id": 1,
        "tag": [value],
        "annotator": 3,
        "annotation_id": 9,
    }
    empty = {key: record[key] for key in ("image", "id", "annotator", "annotation_id")}
    content = read(tmp_path, [record, {**empty, "image": "b.png"}])
    assert [image.annotator for image in content.images] == ["3", "3"]
    assert list(meanings(content).values()) == [(1, True), (0, True)]
    assert content.images[0].objects[0].box_xyxy_px == pytest.approx(BOX)


# --- VIA


@pytest.mark.parametrize(
    ("kind", "box"),
    [
        ("rect", BOX),
        ("polygon", BOX),
        ("circle", [6, 7, 14, 15]),
        ("ellipse", [6, 9, 14, 13]),
    ],
)
@pytest.mark.parametrize("make", [via_project, via_entries])
def test_via(tmp_path, kind, box, make):
    content = read(tmp_path, make(kind))
    assert meanings(content) == {"a.png": (1, True), "b.png": (0, True), "c.png": (0, False)}
    assert content.images[0].objects[0].box_xyxy_px == pytest.approx(box)
    assert content.classes == ("mass",)


def test_via_csv(tmp_path):
    header = (
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        "region_attributes"
    )
    shape = '"{""name"":""rect"",""x"":6,""y"":8,""width"":9,""height"":4}"'
    rows = [
        f'a.png,99,"{{}}",1,0,{shape},"{{""finding"":""mass""}}"',
        'c.png,99,"{}",0,0,"{}","{}"',
    ]
    content = read(tmp_path, "\n".join([header, *rows]) + "\n", "via.csv")
    assert meanings(content) == {"a.png": (1, True), "c.png": (0, False)}
    assert content.images[0].objects[0].box_xyxy_px == tuple(BOX)


def test_makesense_vgg_json_has_regions_by_number(tmp_path):
    entry = {
        "fileref": "",
        "size": 0,
        "filename": "a.png",
        "base64_img_data": "",
        "file_attributes": {},
        "regions": {
            "0": {
                "shape_attributes": {
                    "name": "polygon",
                    "all_points_x": [X1, X2, X2],
                    "all_points_y": [Y1, Y1, Y2],
                },
                "region_attributes": {"label": "mass"},
            }
        },
    }
    assert only(read(tmp_path, {"a.png": entry})).box_xyxy_px == tuple(BOX)


# --- QuPath


def test_qupath_takes_what_people_drew(tmp_path):
    features = [
        qupath_feature(),
        qupath_feature(kind="detection"),
        qupath_feature([1, 2], shape="Point"),
    ]
    content = read(tmp_path, {"type": "FeatureCollection", "features": features}, "a.geojson")
    assert only(content).box_xyxy_px == tuple(BOX)
    assert sum(content.notes.values()) == 2
    empty = read(tmp_path, {"type": "FeatureCollection", "features": []}, "b.geojson")
    assert meanings(empty) == {"": (0, False)}


# --- COCO


def coco(**changes):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [X1, Y1, X2 - X1, Y2 - Y1]}
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": SIZE, "height": SIZE}],
        "annotations": [{**annotation, **changes}],
        "categories": [{"id": 1, "name": "mass"}],
    }


def test_coco_without_a_box_has_the_one_of_its_shape(tmp_path):
    polygon = [[X1, Y1, X2, Y1, X2, Y2]]
    assert only(read(tmp_path, coco(bbox=[], segmentation=polygon))).box_xyxy_px == tuple(BOX)
    flat = MASK.T.ravel().astype(int)
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    shape = {"size": [SIZE, SIZE], "counts": counts}
    assert only(read(tmp_path, coco(bbox=None, segmentation=shape))).box_xyxy_px == tuple(BOX)


def test_coco_without_annotations_is_unknown_and_a_shared_id_is_a_problem(tmp_path):
    content = coco()
    content["images"] += [
        {"id": 2, "file_name": "b.png", "width": SIZE, "height": SIZE},
        {"id": 3, "file_name": "c.png", "width": SIZE, "height": SIZE},
        {"id": 3, "file_name": "c.jpg", "width": SIZE, "height": SIZE},
    ]
    found = read(tmp_path, content)
    assert meanings(found)["b.png"] == (0, False)
    assert [bool(image.problem) for image in found.images] == [False, False, True, True]


# --- tables


@pytest.mark.parametrize(
    "text",
    [
        "image,x1,y1,x2,y2\na.png,6,8,15,12\n",
        "\ufeffimage;x1;y1;x2;y2\r\na.png;6,0;8,0;15,0;12,0\r\n",
        "sep=;\r\nimage;x1;y1;x2;y2\r\na.png;6;8;15;12\r\n",
        "Image\tX Min (px)\tY Min (px)\tX Max (px)\tY Max (px)\na.png\t6\t8\t15\t12\n",
        '"filename","width","height","class","xmin","ymin","xmax","ymax"\n"a.png",24,24,m,6,8,15,12\n',
        "name,cx,cy,w,h\na.png,10.5,10,9,4\n",
        "file_name,left,top,width,height\na.png,6,8,9,4\n",
        "path,x,y,width,height\na.png,6,8,9,4\n,,,,\n\n",
        "path,x,y,width,height\na.png,10.5,10,9,4\nb.png,20,20,8,8\n",  # or b would leave its image
        "image,x1,y1,x2,y2\na.png,0.25,0.333333,0.625,0.5\n",
        "mass,6,8,9,4,a.png,24,24\n",  # makesense.ai
        "/home/me/a.png,6,8,15,12,mass\nb.png,,,,,\n",  # RetinaNet
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_of_boxes(tmp_path, text, encoding):
    beside = KnownBeside(size_of=lambda name: (SIZE, SIZE))
    content = read(tmp_path, text.encode(encoding), "boxes.csv", beside)
    assert content.images[0].objects[0].box_xyxy_px == pytest.approx(BOX, abs=0.01)
    assert content.images[0].image.endswith("a.png")


def test_a_table_says_how_its_numbers_were_read(tmp_path):
    beside = KnownBeside(size_of=lambda name: (SIZE, SIZE))
    text = "image,x,y,w,h\na.png,0.5,0.5,0.2,0.2\nb.png,0.9,0.9,0.2,0.2\n"
    content = read(tmp_path, text, "boxes.csv", beside)
    assert content.notes == {
        "boxes are in shares of width and height": 2,
        "boxes have their centre in x, y: as corners, they would leave their images": 2,
    }


def test_rows_without_values_were_looked_at(tmp_path):
    text = "image_id,class_name,rad_id,x_min,y_min,x_max,y_max\na,No finding,R1,NaN,NaN,NaN,NaN\nb,m,R2,1,2,3,4\n"
    content = read(tmp_path, text, "train.csv")
    assert meanings(content) == {"a": (0, True), "b": (1, True)}
    assert [image.annotator for image in content.images] == ["R1", "R2"]


def test_a_table_in_another_code_page_has_its_accents(tmp_path):
    text = "image,x1,y1,x2,y2\nt\u00eate.png,6,8,15,12\n"
    assert read(tmp_path, text.encode("cp1252"), "boxes.csv").images[0].image == "t\u00eate.png"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b'{"images": [', "a.json"),
        (b'[{"annotations": [], "data": {"image"', "a.json"),
        (b"<annotations><image", "a.xml"),
        (b"<annotation><object><bndbox><xmin>x</xmin></bndbox></object></annotation>", "a.xml"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'.encode("utf-16"), "a.xml"),
        (
            b'{"version": "5", "shapes": [{"points": [[1, 2]], "shape_type": "rectangle"}]}',
            "a.json",
        ),
        (b'{"version": "5", "shapes": [3]}', "a.json"),
        (b'{"type": "FeatureCollection", "features": [{}]}', "a.geojson"),
        (b"PK\x03\x04 no workbook", "a.xlsx"),
        (b'<annotations><track label="m"><box frame="x" xtl="1" /></track></annotations>', "a.xml"),
        (b'<annotations><track label="m"><box frame="1" xtl="w" /></track></annotations>', "a.xml"),
        (b"image,x1,y1,x2,y2\na.png,1,2,3\n", "a.csv"),
        (b'image,x1,y1,x2,y2\n"a.png,1,2,3,4\n', "a.csv"),
        (b"hello", "a.json"),
        (b"", "a.csv"),
    ],
)
def test_damaged_files_are_one_clear_line(tmp_path, content, name):
    with pytest.raises(InputError, match=re.escape(name)) as caught:
        read(tmp_path, content, name)
    assert "\n" not in str(caught.value)


def test_a_mask_of_a_size_that_no_picture_has_is_not_drawn(tmp_path):
    huge = 10**9
    cvat = (
        f'<annotations><image id="0" name="a.png" width="{huge}" height="{huge}">'
        '<mask label="m" rle="0, 4" left="0" top="0" width="2" height="2" /></image></annotations>'
    )
    shape = {"size": [huge, huge], "counts": [0, huge * huge]}
    region = label_studio_region("brushlabels", {"format": "rle", "rle": brush_stroke(MASK)})
    region |= {"original_width": huge, "original_height": huge}
    tasks = [label_studio_task(1, "a.png", [label_studio_annotation([region])])]
    for content, name in (
        (cvat, "a.xml"),
        (coco(bbox=[], segmentation=shape), "a.json"),
        (tasks, "b.json"),
    ):
        (said,) = read(tmp_path, content, name).images
        assert "pixels" in said.problem


def test_damaged_regions_are_a_problem_of_their_image_alone(tmp_path):
    region = label_studio_region(value={"x": "wide", "y": 1, "width": 2, "height": 3})
    tasks = [
        label_studio_task(1, "a.png", [label_studio_annotation([region])]),
        label_studio_task(2, "b.png", [label_studio_annotation([label_studio_region()])]),
    ]
    first, second = read(tmp_path, tasks).images
    assert first.problem == "a region is damaged"
    assert len(second.objects) == 1


def test_every_format_says_what_no_annotation_means():
    for each in ANNOTATION_FORMATS.values():
        assert "unknown" in each.no_annotation


def test_a_turned_box_keeps_its_extent(tmp_path):
    turned = (
        "<annotation><object><name>m</name><robndbox><cx>10</cx><cy>12</cy><w>8</w><h>4</h>"
        f"<angle>{math.pi / 2}</angle></robndbox></object></annotation>"
    )
    found = only(read(tmp_path, turned, "a.xml"))
    assert found.box_xyxy_px == pytest.approx([8, 8, 12, 16])


def test_an_xlsx_is_a_table(tmp_path):
    from support.workbooks import write_xlsx

    path = tmp_path / "boxes.xlsx"
    write_xlsx(
        path, [["image", "x1", "y1", "x2", "y2"], ["a.png", 6, 8, 15.0, "12,0"], ["7", *BOX]]
    )
    content = format_of(path).read(path)
    assert [image.image for image in content.images] == ["a.png", "7"]
    assert all(image.objects[0].box_xyxy_px == tuple(BOX) for image in content.images)


def test_write_json_is_read_with_its_mark(tmp_path):
    write_json(tmp_path / "a.json", labelme_json("a.png", [labelme_shape()]))
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert only(format_of(path).read(path)).box_xyxy_px == tuple(BOX)


# --- VIA 3, Supervisely, Label Studio's CSV, Kaggle's run lengths


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((2, X1, Y1, X2 - X1, Y2 - Y1), BOX),
        ((3, 10, 11, 4), [6, 7, 14, 15]),
        ((4, 10, 11, 4, 2), [6, 9, 14, 13]),
        ((7, X1, Y1, X2, Y1, X2, Y2), BOX),
        ((8, X1, Y1, X2 - X1, Y2 - Y1), BOX),
    ],
)
def test_via_3_projects(tmp_path, shape, box):
    content = read(tmp_path, via_3_project(shape), "via_project.json")
    assert meanings(content) == {"a.png": (1, True), "b.png": (0, True)}
    (found,) = content.images[0].objects
    assert found.box_xyxy_px == pytest.approx(box)
    assert found.class_name == "mass"


def test_via_3_leaves_points_out_and_names_damage(tmp_path):
    content = read(tmp_path, via_3_project((1, 5, 5)))
    assert content.images[0].objects == ()
    assert content.notes == {"shapes without an area are left out (point)": 1}
    assert "damaged" in read(tmp_path, via_3_project((2, 5))).images[0].problem
    broken = via_3_project() | {"view": {"1": {"fid_list": ["9"]}}}
    with pytest.raises(InputError, match="damaged project of VIA 3"):
        read(tmp_path, broken)


def bitmap(origin=(X1, Y1), size=(X2 - X1, Y2 - Y1)):
    buffer = io.BytesIO()
    Image.new("L", size, 255).save(buffer, "PNG")
    data = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    return {"bitmap": {"data": data, "origin": list(origin)}, "geometryType": "bitmap"}


@pytest.mark.parametrize(
    "figure",
    [
        supervisely_figure(),
        supervisely_figure("rectangle", ((X2 - 1, Y2 - 1), (X1, Y1))),
        supervisely_figure("polygon", ((X1, Y1), (X2, Y1), (X2, Y2), (X1, Y2))),
        supervisely_figure(**bitmap()),
    ],
)
def test_supervisely_figures(tmp_path, figure):
    found = only(read(tmp_path, supervisely_json([figure]), "a.png.json"))
    assert found.box_xyxy_px == pytest.approx(BOX)
    assert found.class_name == "mass"


def test_supervisely_without_a_figure_is_unknown_but_for_a_tag(tmp_path):
    for tags, looked_at in (((), False), (("normal",), True)):
        (image,) = read(tmp_path, supervisely_json([], tags), "a.png.json").images
        assert (image.objects, image.looked_at) == ((), looked_at)
    content = read(tmp_path, supervisely_json([supervisely_figure("point", ((3, 3),))]))
    assert content.notes == {"shapes without an area are left out (point)": 1}


@pytest.mark.parametrize(
    "figure",
    [
        {"classTitle": "a"},
        supervisely_figure(**bitmap(origin=(20, 20))),
        supervisely_figure(points=()),
    ],
)
def test_supervisely_damage_is_one_line(tmp_path, figure):
    with pytest.raises(InputError, match=r"damaged|outside|\.json"):
        read(tmp_path, supervisely_json([figure]), "a.png.json")


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_label_studio_tables(tmp_path, ending):
    delimiter = {"csv": ",", "tsv": "\t"}[ending]
    region = label_studio_region()
    cell = [region["value"] | {"original_width": SIZE, "original_height": SIZE}]
    quoted = '"' + json.dumps(cell).replace('"', '""') + '"'
    rows = [
        ["image", "id", "label", "annotator", "annotation_id", "lead_time"],
        ["/data/upload/1/0a1b2c3d-a.png", "1", quoted, "1", "7", "3.5"],
        ["/data/upload/1/0a1b2c3e-b.png", "2", "", "1", "8", "1.5"],
    ]
    text = "\n".join(delimiter.join(row) for row in rows) + "\n"
    content = read(tmp_path, text, f"project.{ending}")
    assert list(meanings(content).values()) == [(1, True), (0, True)]
    assert content.images[0].objects[0].box_xyxy_px == pytest.approx(BOX)


def test_run_lengths_of_kaggle(tmp_path):
    beside = KnownBeside(size_of=lambda name: (SIZE, SIZE))
    text = f"ImageId,EncodedPixels\na.png,{runs_of(mask())}\nb.png,-1\nc.png,\n"
    content = read(tmp_path, text, "train.csv", beside)
    assert meanings(content) == {"a.png": (1, True), "b.png": (0, True), "c.png": (0, True)}
    (found,) = content.images[0].objects
    assert found.box_xyxy_px == pytest.approx(BOX)
    assert (decode_run_lengths(found.run_lengths, (SIZE, SIZE)) == MASK).all()
    for runs in ("1 3 2 2", "5", "0 2", "570 90", "1 x", "1 -2", "99999999999999999999 1"):
        content = read(tmp_path, f"ImageId,EncodedPixels\na.png,{runs}\n", "t.csv", beside)
        assert "line 2: " in content.images[0].problem


def test_run_lengths_may_count_from_the_end_of_the_run_before(tmp_path):
    """SIIM-ACR's, whose column is called ` EncodedPixels`."""

    def rows(runs):
        text = "".join(f"{n}, {each}\n" for n, each in enumerate(runs))
        return read(tmp_path, "ImageId, EncodedPixels\n" + text, "train.csv", beside)

    beside = KnownBeside(size_of=lambda name: None if name == "5" else (SIZE, SIZE))
    starts, lengths = np.array(runs_of(mask()).split(), dtype=int).reshape(-1, 2).T
    ends = np.concatenate([[0], (starts - 1 + lengths)[:-1]])
    relative = " ".join(f"{a} {b}" for a, b in zip(starts - 1 - ends, lengths, strict=True))
    content = rows([relative, relative, "-1", relative, "1 x", relative, "1 4 900 4"])
    found = [image.objects for image in content.images]
    assert [len(objects) for objects in found] == [1, 1, 0, 1, 0, 0, 0]
    assert (decode_run_lengths(found[0][0].run_lengths, (SIZE, SIZE)) == MASK).all()
    (note,) = content.notes
    assert "the end of the run before" in note
    assert [bool(image.problem) for image in content.images] == [False] * 4 + [True] * 3

    # Two such rows are damaged ones, and one that can only be read from 1 decides.
    for runs in ([relative] * 2, [relative] * 3 + [runs_of(mask())]):
        content = rows(runs)
        assert ["overlap" in image.problem for image in content.images[:2]] == [True, True]


# --- where Pascal VOC counts from


@pytest.mark.parametrize(
    ("source", "corner", "expected"),
    [
        ("", "6", 5),
        ("<source><database>The VOC2007 Database</database></source>", "6", 5),
        ("<source><database>roboflow.com</database></source>", "6", 5),
        ("<source><database>Unknown</database></source>", "6", 6),  # labelImg, CVAT
        ("<source><database>MedDistill</database></source>", "6", 6),
        ("", "0", 0),
        ("", "6.5", 6.5),
    ],
)
def test_voc_counts_from_one_unless_its_numbers_or_tool_say_zero(
    tmp_path, source, corner, expected
):
    corners = f"<xmin>{corner}</xmin><ymin>{corner}</ymin><xmax>9</xmax><ymax>9</ymax>"
    text = f"<annotation>{source}<object><name>a</name><bndbox>{corners}</bndbox></object></annotation>"
    assert only(read(tmp_path, text, "a.xml")).box_xyxy_px == (expected, expected, 9, 9)


def test_a_table_states_the_size_of_its_pictures(tmp_path):
    text = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,640,480,m,1,2,30,40\n"
    assert read(tmp_path, text, "t.csv").images[0].size_hw == (480, 640)


def test_a_box_of_no_finding_is_none(tmp_path):
    """VinDr-CXR, as Kaggle has it; a box of what is normal is one: cells are."""
    rows = "a,No finding,0,0,1,1\nb,Nodule,6,8,15,12\nc,normal,6,8,15,12\n"
    table = "image_id,class_name,x_min,y_min,x_max,y_max\n" + rows
    content = read(tmp_path, table, "train.csv")
    assert meanings(content) == {"a": (0, True), "b": (1, True), "c": (1, True)}
    assert content.classes == ("Nodule", "normal")
    assert content.notes["boxes whose class says that nothing is there are none"] == 1


def test_a_study_is_a_group_where_no_patient_is_told(tmp_path):
    """VinDr-Mammo: four views a study."""
    table = "study_id,image_id,xmin,ymin,xmax,ymax\ns1,a,6,8,15,12\ns1,b,6,8,15,12\n"
    assert [image.group for image in read(tmp_path, table, "a.csv").images] == ["s1", "s1"]
    table = "study_id,patient_id,image,x1,y1,x2,y2\ns1,p1,a,6,8,15,12\ns2,p1,b,6,8,15,12\n"
    assert [image.group for image in read(tmp_path, table, "b.csv").images] == ["p1", "p1"]
    trial = "study,image,x1,y1,x2,y2\nNLST,a,6,8,15,12\nNLST,b,6,8,15,12\n"
    assert [image.group for image in read(tmp_path, trial, "c.csv").images] == ["", ""]


def test_rows_of_a_large_table_share_what_they_repeat(tmp_path):
    """A table may have millions of rows; what each adds is its numbers."""
    rows = "".join(f"image_{n // 1000}.png,cell,{n % 90},2,{n % 90 + 5},9\n" for n in range(5000))
    tracemalloc.start()
    content = read(tmp_path, "image,class,x1,y1,x2,y2\n" + rows, "boxes.csv")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(image.objects) for image in content.images) == 5000
    assert used < 5000 * 700
    assert len({id(each.class_name) for image in content.images for each in image.objects}) == 1


def test_lines_may_end_in_any_way_and_quoted_cells_may_hold_some(tmp_path):
    text = 'image,class,x1,y1,x2,y2\r\na.png,"two\nlines",1,2,9,8\rb.png,x,1,2,9,8'
    content = read(tmp_path, text, "boxes.csv")
    assert [image.image for image in content.images] == ["a.png", "b.png"]
    assert content.images[0].objects[0].class_name == "two\\nlines"


@pytest.mark.parametrize(
    ("cell", "said"),
    [("[6, 8, 9.0, 4]", "corner and size"), ("(6; 8; 15; 12)", "corners")],
)
def test_four_numbers_in_a_cell_are_a_box(tmp_path, cell, said):
    beside = KnownBeside(size_of=lambda name: (18, 20))
    text = f'image_id,width,height,bbox\na,20,18,"{cell}"\nb,20,18,\n'
    content = read(tmp_path, text, "train.csv", beside)
    assert content.images[0].objects[0].box_xyxy_px == pytest.approx(BOX)
    assert f"boxes are {said} in one cell" in content.notes
    assert content.images[1].objects == ()
    with pytest.raises(InputError, match="line 2: expected four numbers"):
        read(tmp_path, 'image_id,bbox\na,"[1, 2, 3]"\n', "train.csv", beside)


IN_A_CELL = [(10 + k, 12 + k, 40 + k, 50 + k) for k in range(12)]


def in_a_cell(tmp_path, boxes, header="image,bbox", beside=None, more=""):
    beside = beside or KnownBeside(size_of=lambda name: (128, 128))
    rows = "".join(f'{k}.png,"{list(box)}"{more}\n' for k, box in enumerate(boxes))
    return read(tmp_path, f"{header}\n{rows}", "boxes.csv", beside)


def test_four_numbers_in_a_cell_that_fit_both_ways_stop(tmp_path):
    for boxes in (IN_A_CELL, [*IN_A_CELL * 2, (60, 20, 50, 30)]):  # one sloppy box decides nothing
        with pytest.raises(
            InputError, match=r"boxes\.csv: .* may be corners or .* bbox_xyxy .*bbox_xywh"
        ):
            in_a_cell(tmp_path, boxes)
    (note,) = in_a_cell(tmp_path, IN_A_CELL[:4]).notes
    assert "corner and size in one cell; they may be corners as well" in note


@pytest.mark.parametrize(
    ("header", "more", "x2"),
    [
        ("image,bbox_xyxy", "", 40),
        ("image,bbox_xywh", "", 50),
        ("File_name,Bounding_boxes,Key_slice_index", ",109", 40),  # DeepLesion
    ],
)
def test_a_columns_name_says_what_four_numbers_in_a_cell_are(tmp_path, header, more, x2):
    content = in_a_cell(tmp_path, IN_A_CELL, header, more=more)
    assert content.images[0].objects[0].box_xyxy_px[2] == x2
    assert "as the column says" in next(iter(content.notes))


@pytest.mark.parametrize(
    ("boxes", "x2"),
    [
        ([*IN_A_CELL, (60, 70, 20, 30)], 50),  # what would have no area as corners is a size
        (IN_A_CELL + [(60, 70, 120, 100)] * 6 + [(60, 70, 132, 100)], 40),
        (IN_A_CELL + [(60, 70, 20, 30)] * 6 + [(100, 70, 40, 100)], 50),
    ],
)
def test_most_boxes_decide_what_four_numbers_in_a_cell_are(tmp_path, boxes, x2):
    content = in_a_cell(tmp_path, boxes)
    assert content.images[0].objects[0].box_xyxy_px[2] == x2


# --- Create ML


def createml(**changes):
    entry = {"label": "mass", "coordinates": {"x": 10.5, "y": 10, "width": 9, "height": 4}}
    return [{"image": "a.png", "annotations": [entry | changes]}]


@pytest.mark.parametrize("keys", [("image", "annotations"), ("imagefilename", "annotation")])
def test_createml_s_boxes_are_centres_and_sizes(tmp_path, keys):
    (entry,) = createml()
    content = read(tmp_path, [dict(zip(keys, entry.values(), strict=True))])
    found = only(content)
    assert (found.class_name, found.box_xyxy_px) == ("mass", tuple(BOX))
    assert content.images[0].image == "a.png"


def test_createml_images_without_a_box_are_unknown(tmp_path):
    content = read(tmp_path, [{"image": "b.png", "annotations": []}, *createml()])
    assert meanings(content) == {"b.png": (0, False), "a.png": (1, True)}


@pytest.mark.parametrize(
    "changes", [{"coordinates": {"x": 1, "y": 2}}, {"coordinates": {"x": "wide"}}]
)
def test_createml_damage_is_said_of_its_image(tmp_path, changes):
    bad = createml(**changes)[0] | {"image": "b.png"}
    first, second = read(tmp_path, [*createml(), bad]).images
    assert (first.problem, second.problem) == ("", "an annotation is damaged")


def test_a_list_that_is_not_create_ml_s_is_left_to_others(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"image": "a.png", "coordinates": {}}]))
    assert ANNOTATION_FORMATS["createml"].read(path) is None


# --- Lists of boxes


def test_box_lines_may_have_spaces_names_and_no_box(tmp_path):
    (tmp_path / "_classes.txt").write_text("cyst\nmass\n")
    text = "b c.png\na 1.png 6,8,15,12,1 1,2.5,3,4,7\n\n"
    content = read(tmp_path, text, "_annotations.txt")
    assert meanings(content) == {"b c.png": (0, False), "a 1.png": (2, True)}
    assert content.beside == (tmp_path / "_classes.txt",)
    found = content.images[1].objects
    assert [each.class_name for each in found] == ["mass", "7"]
    assert [each.box_xyxy_px for each in found] == [tuple(BOX), (1, 2.5, 3, 4)]


@pytest.mark.parametrize(
    "box", ["6,8,15,0", "6,8,15,x,0", "6,8,15,12,0,3", "6,8,15,nan,0", "6,8,15,12," + "9" * 5000]
)
def test_box_lines_damage_is_said_of_its_image(tmp_path, box):
    text = f"a.png 6,8,15,12,0\nb.png {box}\n"
    first, second = read(tmp_path, text, "boxes.txt").images
    assert (first.problem, second.image) == ("", "b.png")
    assert second.problem == f"{box[:40]} is no x1,y1,x2,y2,class"


@pytest.mark.parametrize(
    "text", ["0 .1 .1 .2 .2\n", "mass\ncyst\n", "train/a.png\n", "1,2,3,4,5\n"]
)
def test_other_texts_are_no_box_lines(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(text)
    assert ANNOTATION_FORMATS["boxes-txt"].recognise(path) is None
