"""What versions and options of label tools write in other words than their plain exports."""

import json

import pytest
from support.annotation_files import BOX, SIZE, X1, X2, Y1, Y2, qupath_feature, supervisely_json

from meddistill.base.errors import InputError
from meddistill.data.formats.annotation_format import KnownBeside
from meddistill.data.formats.known_annotation_formats import ANNOTATION_FORMATS, format_of

SQUARE = [X1, Y1, X2, Y1, X2, Y2, X1, Y2]


def read(tmp_path, content, name):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return format_of(path).read(path)


def only(content):
    (image,) = content.images
    (found,) = image.objects
    return found


# --- COCO


def coco(**changes):
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [X1, Y1, X2 - X1, Y2 - Y1],
        "segmentation": [],
    }
    return {
        "categories": [{"id": 1, "name": "mass"}],
        "images": [{"id": 1, "file_name": "a.png", "width": SIZE, "height": SIZE}],
        "annotations": [annotation | changes],
    }


@pytest.mark.parametrize(
    ("shape", "polygons"), [([[]], 0), ("", 0), (None, 0), (SQUARE, 1), ([SQUARE, []], 1)]
)
def test_coco_shapes_that_are_empty_or_no_list_of_polygons(tmp_path, shape, polygons):
    found = only(read(tmp_path, coco(segmentation=shape), "a.json"))
    assert found.box_xyxy_px == tuple(BOX)
    assert len(found.polygons_xy_px) == polygons


def test_coco_numbers_may_be_texts(tmp_path):
    found = only(read(tmp_path, coco(image_id="1", category_id="1"), "a.json"))
    assert (found.class_name, found.box_xyxy_px) == ("mass", tuple(BOX))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"category_id": 7}, "category_id 7 is none of the file's categories"),
        (
            {"segmentation": {"counts": [2 * SIZE * SIZE], "size": [SIZE * 2, SIZE]}},
            f"run lengths are of {SIZE}x{SIZE * 2} pixels, expected {SIZE}x{SIZE}",
        ),
    ],
)
def test_coco_says_what_does_not_fit(tmp_path, changes, problem):
    (image,) = read(tmp_path, coco(**changes), "a.json").images
    assert image.problem == problem


def test_coco_families_of_categories_are_no_class(tmp_path):
    content = coco()
    content["categories"] = [
        {"id": 0, "name": "masses", "supercategory": "none"},  # as Roboflow begins its list
        {"id": 1, "name": "mass", "supercategory": "masses"},
        {"id": 2, "name": "cyst", "supercategory": "cyst"},
    ]
    assert read(tmp_path, content, "a.json").classes == ("cyst", "mass")
    content["annotations"][0]["category_id"] = 0
    assert read(tmp_path, content, "a.json").classes == ("cyst", "mass", "masses")


def test_notes_of_categories_alone_are_no_coco(tmp_path):
    path = tmp_path / "notes.json"  # Label Studio writes it beside YOLO's text files
    path.write_text(json.dumps({"categories": [{"id": 0, "name": "mass"}], "info": {}}))
    assert ANNOTATION_FORMATS["coco"].recognise(path) is None
    content = coco()
    content["categories"] += [{"id": n, "name": f"class {n}" * 50} for n in range(2, 40)]
    path.write_text(json.dumps(content))
    assert ANNOTATION_FORMATS["coco"].recognise(path)


# --- Pascal VOC


def voc(shape, database="", size=(SIZE, SIZE)):
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    source = f"<source><database>{database}</database></source>"
    return f"<annotation>{source}{sides}<object><name>mass</name>{shape}</object></annotation>"


BNDBOX = (
    f"<bndbox><xmin>{X1:.0f}</xmin><ymin>{Y1:.0f}</ymin><xmax>{X2:.0f}</xmax>"
    f"<ymax>{Y2:.0f}</ymax></bndbox>"
)


@pytest.mark.parametrize("database", ["Unknown", "Unspecified", "MyDatabase"])
def test_voc_of_label_tools_counts_from_zero(tmp_path, database):
    assert only(read(tmp_path, voc(BNDBOX, database), "a.xml")).box_xyxy_px == tuple(BOX)


@pytest.mark.parametrize(("size", "told"), [((64, 48), (48, 64)), ((0, 0), None), (("", ""), None)])
def test_voc_says_the_size_of_its_picture(tmp_path, size, told):
    (image,) = read(tmp_path, voc(BNDBOX, size=size), "a.xml").images
    assert image.size_hw == told


@pytest.mark.parametrize(("kind", "polygons"), [("bounding_box", 0), ("", 1)])
def test_labelme_s_xml_has_polygons(tmp_path, kind, polygons):
    points = "".join(
        f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)
    )
    deleted = "</object><object><name>mass</name><deleted>1</deleted>"
    shape = f"<deleted>0</deleted><type>{kind}</type><polygon>{points}</polygon>{deleted}"
    content = read(tmp_path, voc(shape), "a.xml")
    assert only(content).box_xyxy_px == tuple(BOX)
    assert len(only(content).polygons_xy_px) == polygons
    assert content.images[0].from_one is None


def test_voc_size_that_is_no_number_is_said(tmp_path):
    with pytest.raises(InputError, match="is not a readable annotation: cannot convert"):
        read(tmp_path, voc(BNDBOX, size=("inf", "3")), "a.xml")


def test_voc_object_without_a_box_is_named(tmp_path):
    with pytest.raises(InputError, match="its object 'mass' has no box"):
        read(tmp_path, voc(""), "a.xml")


# --- CVAT


def test_cvat_tracks_hold_masks_and_say_what_has_no_area(tmp_path):
    facts = 'frame="3" keyframe="1" outside="0"'
    gone = facts.replace('"0"', '"1"')
    mask = '<mask {} rle="1, 2, 3" left="6" top="8" width="3" height="2" />'
    size = f"<original_size><width>{SIZE}</width><height>{SIZE}</height></original_size>"
    text = (
        f"<annotations><meta><task>{size}</task></meta>"
        f'<track id="0" label="mass">{mask.format(facts)}{mask.format(gone)}</track>'
        f'<track id="1" label="mass"><points {facts} points="1,1" /></track></annotations>'
    )
    content = read(tmp_path, text, "a.xml")
    assert (only(content).class_name, only(content).box_xyxy_px) == ("mass", (7, 8, 9, 9))
    assert content.images[0].size_hw == (SIZE, SIZE)
    assert content.notes == {"shapes without an area are left out (points)": 1}


def test_cvat_tracks_that_are_damaged_name_their_file(tmp_path):
    mask = '<mask frame="3" outside="0" rle="1,2" left="6" top="8" width="3" height="2" />'
    text = f'<annotations><track id="0" label="mass">{mask}</track></annotations>'
    with pytest.raises(
        InputError, match=r"a\.xml has a track that is damaged: a mask's run lengths"
    ):
        read(tmp_path, text, "a.xml")


# --- labelme


def test_labelme_polygons_of_a_group_are_one_object(tmp_path):
    def shape(left, right, group, label="mass"):
        points = [[left, Y1], [right, Y1], [right, Y2], [left, Y2]]
        return {"label": label, "points": points, "group_id": group, "shape_type": "polygon"}

    half = (X1 + X2) / 2
    shapes = [shape(X1, half, 1), shape(half + 1, X2, 1), shape(0, 2, 1, "cyst"), shape(0, 2, None)]
    content = {"shapes": shapes, "imagePath": "a.png", "imageHeight": SIZE, "imageWidth": SIZE}
    first, *others = read(tmp_path, content, "a.json").images[0].objects
    assert (first.box_xyxy_px, len(first.polygons_xy_px)) == (tuple(BOX), 2)
    assert [each.class_name for each in others] == ["cyst", "mass"]


def test_a_turned_rectangle_is_a_box_and_no_outline(tmp_path):
    points = [[8, 2], [12, 6], [8, 10], [4, 6]]
    shape = {"label": "mass", "points": points, "shape_type": "oriented_rectangle"}
    content = {"shapes": [shape], "imagePath": "a.png", "imageHeight": SIZE, "imageWidth": SIZE}
    found = only(read(tmp_path, content, "a.json"))
    assert (found.box_xyxy_px, found.has_shape) == ((4, 2, 12, 10), False)


# --- QuPath and Supervisely


def test_qupath_told_its_own_objects_by_their_ids(tmp_path):
    features = [qupath_feature(), qupath_feature(), qupath_feature()]
    for feature, name in zip(features, ("Annotation", "Detection", "Cell"), strict=True):
        feature["id"] = f"Path{name}Object"
        del feature["properties"]["objectType"]
    content = read(tmp_path, features, "a.geojson")
    assert only(content).class_name == "mass"
    assert sum(content.notes.values()) == 2


def test_qupath_classes_of_several_names(tmp_path):
    feature = qupath_feature()
    feature["properties"]["classification"] = {"names": ["mass", "positive"]}
    content = {"type": "FeatureCollection", "features": [feature]}
    assert only(read(tmp_path, content, "a.geojson")).class_name == "mass: positive"


def test_supervisely_rings_are_boxes_and_graphs_are_left_out(tmp_path):
    points = {"exterior": [[4, 4], [20, 4], [20, 20]], "interior": [[[12, 6], [16, 6], [16, 8]]]}
    ring = {"classTitle": "mass", "geometryType": "polygon", "points": points}
    graph = {"classTitle": "mass", "geometryType": "graph", "nodes": {}}
    content = read(tmp_path, supervisely_json([ring, graph]), "a.png.json")
    assert (only(content).box_xyxy_px, only(content).has_shape) == ((4, 4, 20, 20), False)
    assert content.notes == {"shapes without an area are left out (graph)": 1}


# --- VIA


def test_via_3_tables(tmp_path):
    attribute = {"1": {"aname": "class", "options": {"0": "mass", "1": "cyst"}}}
    lines = [
        "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)",
        '# SHAPE_ID = {"POINT":1,"RECTANGLE":2,"CIRCLE":3}',
        f"# ATTRIBUTE = {json.dumps(attribute)}",
        "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata",
        f'"1_a","[""a.png""]",0,"[]","[2,{X1},{Y1},{X2 - X1},{Y2 - Y1}]","{{""1"":""0""}}"',
        '"1_b","[""film.mp4""]",0,"[1.5]","[2,1,1,5,5]","{}"',
    ]
    content = read(tmp_path, "\r\n".join(lines), "via.csv")
    assert content.images[0].image == "a.png"
    assert (only(content).class_name, only(content).box_xyxy_px) == ("mass", tuple(BOX))
    with pytest.raises(InputError, match="is a damaged table of VIA 3: a row has 2 values"):
        read(tmp_path, "\n".join([*lines, "1_c,2"]), "via.csv")


# --- tables of boxes


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        ("filename,left,upper,right,lower,label", "4,10,12,14"),
        ("filename,top_left_x,top_left_y,bottom_right_x,bottom_right_y,cls", "4,10,12,14"),
        ("filename,x_start,y_start,x_end,y_end,type", "4,10,12,14"),
        ("img_name,x1,y1,w,h,class_id", "4,10,8,4"),
        ("image,bbox_left,bbox_top,bbox_width,bbox_height,class", "4,10,8,4"),
        ("image,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId", "4,10,12,14"),
        ("image,bbox_x,bbox_y,bbox_w,bbox_h,class", "4,10,8,4"),
        ('Image Index,"Bbox [x",y,w,h],Finding Label', "4,10,8,4"),
    ],
)
def test_columns_of_boxes_have_many_names(tmp_path, header, numbers):
    found = only(read(tmp_path, f"{header}\na.png,{numbers},mass\n", "table.csv"))
    assert (found.class_name, found.box_xyxy_px) == ("mass", (4, 10, 12, 14))


def test_columns_of_the_picture_s_size_are_none_of_the_box(tmp_path):
    header = "image,width,height,bbox_x,bbox_y,bbox_w,bbox_h"
    (image,) = read(tmp_path, f"{header}\na.png,40,30,4,10,8,4\n", "table.csv").images
    assert image.size_hw == (30, 40)
    assert image.objects[0].box_xyxy_px == (4, 10, 12, 14)


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        ("image,width,height,cx,cy,w,h", "24,20,8,12,8,4"),
        ("image,width,height,xmin,ymin,w,h", "24,20,4,10,8,4"),
        ("id,img_name,x1,y1,x2,y2,width,height", "a.png,4,10,12,14,24,20"),
        ("patient_id,img_path,left,top,w,h,width,height", "a.png,4,10,8,4,24,20"),
    ],
)
def test_width_and_height_beside_a_box_are_the_picture_s(tmp_path, header, numbers):
    first = "a.png" if header.startswith("image") else "7"
    (image,) = read(tmp_path, f"{header}\n{first},{numbers}\n", "table.csv").images
    assert (image.image, image.size_hw) == ("a.png", (20, 24))
    assert image.objects[0].box_xyxy_px == (4, 10, 12, 14)


def test_commas_part_thousands_where_they_part_cells_and_decimals_elsewhere(tmp_path):
    rows = '"1,000","2,000","1,200","12,345.5"'
    assert only(read(tmp_path, f"image,x1,y1,x2,y2\na,{rows}\n", "t.csv")).box_xyxy_px == (
        *(1000, 2000, 1200, 12345.5),
    )
    decimals = "image;x1;y1;x2;y2\na;1,000;2,5;3,125;4\n"
    assert only(read(tmp_path, decimals, "u.csv")).box_xyxy_px == (1, 2.5, 3.125, 4)


# --- YOLO


@pytest.mark.parametrize("line", ["0.7 0.5 0.5 0.2 0.2", "1.5 0 0 0 .5 .5 .5"])
def test_a_yolo_class_is_a_whole_number(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"{line}\n")
    with pytest.raises(InputError, match=r"line 1 begins with \d\.\d, no class number"):
        ANNOTATION_FORMATS["yolo"].read(tmp_path / "a.txt", KnownBeside(size_hw=(SIZE, SIZE)))


def test_yolo_labels_with_a_confidence_are_a_detector_s(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 0.2 0.2 0.93\n")
    with pytest.raises(InputError, match="6 numbers, expected 5 or a polygon: a sixth is the conf"):
        ANNOTATION_FORMATS["yolo"].read(path, KnownBeside(size_hw=(SIZE, SIZE)))
