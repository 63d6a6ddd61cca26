"""Files of label tools and the images in one folder: what becomes of both."""

import json

import pytest
from support.annotation_files import BOX, SIZE, qupath_feature, via_entries, write_json
from support.layouts import (
    image,
    make_coco,
    make_label_studio,
    make_yolo,
    mask,
    save,
    three_images,
)

from meddistill.base.errors import InputError
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.prepare.listing import list_source
from meddistill.data.sources.known_sources import choose_source
from meddistill.data.sources.source import SourceOptions
from meddistill.settings.prepare import PrepareConfig


def listed(folder, **options):
    return choose_source("auto", folder)[0].list_cases(folder, SourceOptions(**options))


def boxes_of(listing):
    return {case.name: case.boxes_xyxy_px for case in listing.cases}


def coco(root, images, annotations=()):
    content = {
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, width, height) in enumerate(images)
        ],
        "annotations": [
            {"id": 1, "image_id": number, "category_id": 1, "bbox": box}
            for number, box in annotations
        ],
        "categories": [{"id": 1, "name": "mass"}],
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "coco.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("unannotated", "second"), [("auto", None), ("none", ()), ("unknown", None)]
)
def test_coco_without_annotation_is_unknown_unless_somebody_says_otherwise(
    tmp_path, unannotated, second
):
    three_images(tmp_path)
    coco(tmp_path, [("a.png", SIZE, SIZE), ("b.png", SIZE, SIZE)], [(0, [1, 2, 3, 4])])
    listing = listed(tmp_path, unannotated=unannotated)
    assert boxes_of(listing) == {"a": ((1, 2, 4, 6),), "b": second, "c": None}
    assert any("listed without an object" in note for note in listing.notes)
    assert "images that no file names, taken as unknown: 1" in listing.notes


def test_what_looked_at_means_can_be_said_the_other_way_round(tmp_path):
    three_images(tmp_path)
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\na.png,1,2,3,4\nb.png,,,,\n")
    assert boxes_of(listed(tmp_path))["b"] == ()
    assert boxes_of(listed(tmp_path, unannotated="unknown"))["b"] is None


def two_annotators(root):
    save(root / "a.png", image())
    rows = ["a,R1,0,0,10,10", "a,R1,12,12,20,20", "a,R2,0,0,10,8"]
    (root / "boxes.csv").write_text("\n".join(["image,reader,x1,y1,x2,y2", *rows]))


@pytest.mark.parametrize(
    ("rule", "boxes"),
    [
        ("first", ((0, 0, 10, 10), (12, 12, 20, 20))),
        ("union", ((0, 0, 10, 10), (12, 12, 20, 20))),
        ("intersection", ((0, 0, 10, 8),)),
    ],
)
def test_of_two_annotators_the_user_chooses(tmp_path, rule, boxes):
    two_annotators(tmp_path)
    assert boxes_of(listed(tmp_path, annotators=rule)) == {"a": boxes}


def test_two_annotators_who_differ_are_both_named(tmp_path):
    two_annotators(tmp_path)
    with pytest.raises(InputError, match=r"differently: 1 .a by R1: 2 boxes, R2: 1 boxes"):
        listed(tmp_path)


def test_two_annotators_who_agree_are_one(tmp_path):
    save(tmp_path / "a.png", image())
    rows = "image,reader,x1,y1,x2,y2\na,R1,0,0,10,10\na,R2,0,0,10,10\n"
    (tmp_path / "boxes.csv").write_text(rows)
    assert boxes_of(listed(tmp_path)) == {"a": ((0, 0, 10, 10),)}


def test_a_picture_that_was_turned_or_resized_since_is_rejected(tmp_path):
    save(tmp_path / "a.png", image()[:12])
    save(tmp_path / "b.png", image())
    coco(tmp_path, [("a.png", 12, SIZE), ("b.png", 99, 99)], [(0, [1, 2, 3, 4]), (1, [1, 2, 3, 4])])
    listing = listed(tmp_path)
    assert not listing.cases
    first, second = (row.reason for row in listing.rejected)
    assert "for a picture of 12x24 px, it has 24x12: it was turned" in first
    assert "for a picture of 99x99 px, it has 24x24: it was resized" in second


def test_two_names_that_lead_to_one_picture_are_rejected(tmp_path):
    save(tmp_path / "scan.png", image())
    boxes = [(0, [1, 2, 3, 4]), (1, [5, 6, 3, 4])]
    coco(tmp_path, [("p1/scan.png", SIZE, SIZE), ("p2/scan.png", SIZE, SIZE)], boxes)
    listing = listed(tmp_path)
    assert not listing.cases
    assert "both p1/scan.png and p2/scan.png would be this image" in listing.rejected[0].reason


def test_splits_of_folders_have_files_of_equal_names(tmp_path):
    for split in ("train", "valid"):
        save(tmp_path / split / "a.png", image())
        coco(tmp_path / split, [("a.png", SIZE, SIZE)], [(0, [1, 2, 3, 4])])
    cases = listed(tmp_path).cases
    assert [case.source for case in cases] == ["train/a.png", "valid/a.png"]
    assert [case.columns["split"] for case in cases] == ["train", "valid"]


def test_masks_beside_boxes_serve_the_evaluation_alone(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}.png", image())
        save(tmp_path / "masks" / f"{name}.png", mask())
    coco(tmp_path, [("a.png", SIZE, SIZE)], [(0, [1, 2, 3, 4])])
    cases = {case.name: case for case in listed(tmp_path).cases}
    assert cases["a"].boxes_xyxy_px == ((1, 2, 4, 6),)
    assert cases["b"].boxes_xyxy_px is None
    assert cases["b"].unannotated
    assert all(case.mask for case in cases.values())


def test_a_table_of_its_own_for_every_image(tmp_path):
    three_images(tmp_path / "images")
    for name, rows in (("a", ["6,8,15,12"]), ("b", [",,,"])):
        path = tmp_path / "tables" / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["x1,y1,x2,y2", *rows]) + "\n")
    assert boxes_of(listed(tmp_path)) == {"a": (tuple(BOX),), "b": (), "c": None}


def test_shares_are_of_the_picture_that_is_meant(tmp_path):
    save(tmp_path / "a.png", image()[:12])
    (tmp_path / "boxes.csv").write_text(
        "image,x1,y1,x2,y2\na.png,0.25,0.25,0.5,0.75\nz,0,0,.5,.5\n"
    )
    listing = listed(tmp_path)
    assert boxes_of(listing) == {"a": ((6, 3, 12, 9),)}
    assert [row.source for row in listing.rejected] == ["z"]


def test_any_tool_s_file_goes_over_another_source(tmp_path, prepare):
    make_label_studio(tmp_path / "tool")
    three_images(tmp_path / "source")
    tasks = tmp_path / "tool" / "project-4-at-2026-11-20.json"
    _, cases, _ = prepare(
        tmp_path / "source", boxes=str(tasks), test_fraction=0.0, val_fraction=0.0, duplicate_bits=0
    )
    assert {name: case.annotation for name, case in cases.items()} == {
        "a": "boxes",
        "b": "none",
        "c": "unknown",
    }


def test_a_file_of_no_known_format_says_what_is_known(tmp_path, prepare):
    three_images(tmp_path / "source")
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(InputError, match=r"mine\.json is of no format that is known .*labelme"):
        prepare(tmp_path / "source", boxes=str(tmp_path / "mine.json"))


def test_control_characters_in_names_do_not_reach_a_table(tmp_path, prepare):
    make_coco(tmp_path / "source")
    path = tmp_path / "source" / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text().replace('"1.jpg"', '"\\u001b[31mred.jpg"'))
    _, _, reasons = prepare(tmp_path / "source")
    assert any("red.jpg" in name for name in reasons)
    assert all("\x1b" not in name + reason for name, reason in reasons.items())


def test_a_resized_copy_is_offered_a_scale_and_scaled_where_asked(tmp_path):
    save(tmp_path / "a.png", image())
    coco(tmp_path, [("a.png", 2 * SIZE, 2 * SIZE)], [(0, [4, 6, 10, 8])])
    assert "--fit-boxes auto scales them by 0.5" in listed(tmp_path).rejected[0].reason
    listing = listed(tmp_path, fit_boxes="auto")
    assert boxes_of(listing) == {"a": ((2, 3, 7, 7),)}
    assert "boxes are scaled from 48x48 to 24x24 px: 1" in listing.notes
    (tmp_path / "coco.json").unlink()
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\na,4,6,14,14\n")
    assert boxes_of(listed(tmp_path, fit_boxes=0.5)) == {"a": ((2, 3, 7, 7),)}


def test_a_turned_copy_is_never_scaled(tmp_path):
    save(tmp_path / "a.png", image()[:12])
    coco(tmp_path, [("a.png", 12, SIZE)], [(0, [1, 2, 3, 4])])
    (row,) = listed(tmp_path, fit_boxes="auto").rejected
    assert row.reason.endswith("they would lie elsewhere")


def voc(root, name, corner):
    save(root / f"{name}.png", image())
    corners = f"<xmin>{corner}</xmin><ymin>4</ymin><xmax>9</xmax><ymax>9</ymax>"
    box = f"<object><name>m</name><bndbox>{corners}</bndbox></object>"
    (root / f"{name}.xml").write_text(f"<annotation>{box}</annotation>")


def test_rectangles_as_polygons_are_no_masks_to_judge_by(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.png", image(ord(name)))
    coco(
        tmp_path,
        [("a.png", SIZE, SIZE), ("b.png", SIZE, SIZE)],
        [(0, [2, 3, 8, 5]), (1, [2, 3, 8, 5])],
    )
    content = json.loads((tmp_path / "coco.json").read_text())
    for annotation, points in zip(
        content["annotations"], ([2, 3, 10, 3, 10, 8, 2, 8], [2, 3, 10, 5, 6, 8]), strict=True
    ):
        annotation["segmentation"] = [points]
    content["annotations"][1]["iscrowd"] = 1
    (tmp_path / "coco.json").write_text(json.dumps(content))
    listing = listed(tmp_path)
    assert [case.mask is not None for case in listing.cases] == [False, True]
    assert (
        "polygons that are rectangles are taken for boxes, which make no mask: 1" in listing.notes
    )
    assert "crowds (iscrowd) are taken as one object each: 1" in listing.notes


def test_a_file_beside_one_picture_that_names_another_is_rejected(tmp_path):
    for name in "ab":
        voc(tmp_path, name, 3)
    text = (tmp_path / "b.xml").read_text()
    (tmp_path / "b.xml").write_text(
        text.replace("<annotation>", "<annotation><filename>a.png</filename>")
    )
    listing = listed(tmp_path)
    assert [case.name for case in listing.cases if case.boxes_xyxy_px] == ["a"]
    (row,) = listing.rejected
    assert "it lies beside b.png and says that it is of a.png" in row.reason
    (tmp_path / "b.xml").rename(tmp_path / "anno_1.xml")
    (tmp_path / "a.xml").unlink()
    assert boxes_of(listed(tmp_path)) == {"a": ((2, 3, 9, 9),), "b": None}


def test_one_file_that_counts_from_zero_tells_of_all(tmp_path):
    voc(tmp_path / "train", "a", 3)
    assert boxes_of(listed(tmp_path)) == {"a": ((2, 3, 9, 9),)}
    voc(tmp_path / "valid", "b", 0)
    listing = listed(tmp_path)
    assert boxes_of(listing) == {"a": ((3, 4, 9, 9),), "b": ((0, 4, 9, 9),)}
    assert "corners count from 0, as some at 0 or their tool show: 2" in listing.notes
    assert [case.columns["split"] for case in listing.cases] == ["train", "valid"]


@pytest.mark.parametrize("where", ["beside", "elsewhere"])
def test_yolo_s_text_files_may_lie_beside_or_in_another_folder(tmp_path, where):
    folder = tmp_path / ("pics" if where == "beside" else "labels_my-project_2026")
    for name in "abc":
        save(tmp_path / "pics" / f"{name}.png", image(ord(name)))
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    (folder / "b.txt").write_text("")
    (tmp_path / "train.txt").write_text("data/pics/a.png\n")
    (tmp_path / "obj.names").write_text("cyst\nmass\n")
    listing = listed(tmp_path)
    assert boxes_of(listing) == {"a": ((9, 6, 15, 18),), "b": (), "c": None}
    assert listing.cases[0].class_name == "mass"
    assert not listing.rejected


def test_yolo_s_names_stand_in_the_yaml_that_has_some(tmp_path):
    make_yolo(tmp_path)
    (tmp_path / "args.yaml").write_text("epochs: 3\n")  # the settings of a training
    listing = listed(tmp_path)
    assert listing.box_classes == ["cyst", "tumour"]
    (tmp_path / "data.yaml").write_text("names: [cyst]\n")
    assert "class numbers that data.yaml does not name: 1" in listed(tmp_path).notes


def test_key_points_of_yolo_are_no_outline(tmp_path):
    make_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("names: [cyst, tumour]\nkpt_shape: [2, 2]\n")
    before = boxes_of(listed(tmp_path))
    for path in (tmp_path / "labels").rglob("*.txt"):
        boxes = [line for line in path.read_text().splitlines() if len(line.split()) == 5]
        path.write_text("".join(f"{line} 0.1 0.1 0.9 0.2\n" for line in boxes) or path.read_text())
    listing = listed(tmp_path)
    assert boxes_of(listing) == before
    assert listing.cases[0].boxes_xyxy_px
    assert listing.cases[0].mask is None
    (tmp_path / "data.yaml").write_text("kpt_shape: 17\n")
    with pytest.raises(InputError, match=r"expected kpt_shape as \[points, numbers\]"):
        listed(tmp_path)


def test_turned_boxes_of_yolo_are_boxes(tmp_path):
    make_yolo(tmp_path)
    for path in (tmp_path / "labels").rglob("*.txt"):
        path.write_text("0 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5\n")
    listing = listed(tmp_path)
    assert all(case.mask is None for case in listing.cases)
    assert any("rectangles are taken for boxes" in note for note in listing.notes)


def test_yolo_of_label_studio_has_notes_beside(tmp_path):
    make_yolo(tmp_path)
    (tmp_path / "notes.json").write_text(json.dumps({"categories": [{"id": 0, "name": "cyst"}]}))
    assert len(listed(tmp_path).cases) == 4


def test_numbers_that_are_no_shares_are_no_labels(tmp_path):
    save(tmp_path / "a.png", image())
    (tmp_path / "a.txt").write_text("12 310 220 9 4\n")
    with pytest.raises(InputError, match=r"1 \.txt files with their names \(a\.txt\)"):
        listed(tmp_path)


def test_annotations_may_lie_deep(tmp_path):
    voc(tmp_path / "VOCdevkit" / "VOC2012" / "Annotations", "a", 3)
    assert boxes_of(listed(tmp_path)) == {"a": ((2, 3, 9, 9),)}


@pytest.mark.parametrize(
    "content",
    [
        {"items": [{"id": "a", "annotations": [{"bbox": [1, 2, 3, 4]}]}], "categories": {}},
        {"item": {"name": "a.png"}, "annotations": [{"bounding_box": {"x": 1}, "name": "polyp"}]},
        {"images": [{"image_name": "a.png", "labels": [{"bbox": [1, 2, 4, 6]}]}]},
        {"images": [], "annotations": [], "categories_1": [{"id": 0, "name": "1"}]},
    ],
    ids=["datumaro", "darwin", "hasty", "dentex"],
)
def test_another_tools_lists_are_not_said_to_be_read_as_coco(tmp_path, content, capsys):
    three_images(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps(content))
    config = PrepareConfig(source=str(tmp_path))
    with pytest.raises(InputError, match=r"no JSON with the keys .*\(a.json is another tool's\?\)"):
        list_source(tmp_path, config, seed=0)
    assert "is read as" not in capsys.readouterr().err
    coco(tmp_path, [("a.png", SIZE, SIZE)], [(0, [1, 2, 3, 4])])
    assert boxes_of(listed(tmp_path))["a"] == ((1, 2, 4, 6),)


def test_outlines_of_files_that_state_no_size_are_drawn_in_their_picture(tmp_path):
    """VIA and QuPath write no size of their pictures."""
    three_images(tmp_path / "via")
    write_json(tmp_path / "via" / "via.json", via_entries("ellipse"))
    three_images(tmp_path / "qupath")
    ring = [[6, 8], [15, 8], [15, 12], [10, 12], [6, 10], [6, 8]]
    write_json(
        tmp_path / "qupath" / "a.geojson",
        {"type": "FeatureCollection", "features": [qupath_feature([ring])]},
    )
    for tool, box in (("via", [6, 9, 14, 13]), ("qupath", BOX)):
        drawn = {case.name: case.mask for case in listed(tmp_path / tool).cases}
        assert drawn["b"] is None
        assert drawn["c"] is None
        pixels = drawn["a"].load()
        assert pixels.shape == (SIZE, SIZE)
        assert mask_to_boxes(pixels).tolist() == [box]


@pytest.mark.parametrize("tool", ["coco", "yolo"])
def test_folders_of_patients_are_groups(tmp_path, tool):
    """Slices of one patient would lie in training and test."""
    names = [f"images/patient_{number // 2}/{number % 2}.png" for number in range(6)]
    for number, name in enumerate(names):
        save(tmp_path / name, image(number))
        if tool == "yolo":
            label = tmp_path / name.replace("images", "labels").replace("png", "txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("0 .5 .5 .2 .2\n")
    if tool == "coco":
        coco(tmp_path, [(name, SIZE, SIZE) for name in names], [(0, [1, 2, 3, 4])])
    groups = {case.source: case.group for case in listed(tmp_path).cases}
    assert groups == {name: name.split("/")[1] for name in names}


def test_a_file_that_names_none_of_the_images_stops(tmp_path):
    """As many names as images, all of them others: nothing would be left but unknown images."""
    for name in "abc":
        save(tmp_path / "images" / f"{name}.png", image(ord(name)))
    coco(tmp_path, [(f"{name}.png", SIZE, SIZE) for name in "xyz"], [(0, [1, 2, 3, 4])])
    told = (
        r"none of 3 entries of coco.json finds its image \(no image file x.png\) among images/a.png"
    )
    with pytest.raises(InputError, match=told):
        listed(tmp_path)


def test_subsets_of_a_project_of_cvat_are_folders(tmp_path):
    """Its tasks may have images of one name."""
    images = ""
    for number, subset in enumerate(("train", "val")):
        save(tmp_path / "images" / subset / "a.png", image(number))
        box = f'<box label="m" xtl="{number}" ytl="2" xbr="9" ybr="8"></box>'
        images += (
            f'<image id="{number}" name="a.png" subset="{subset}" task_id="{number}" '
            f'width="{SIZE}" height="{SIZE}">{box}</image>'
        )
    text = f"<annotations><version>1.1</version>{images}</annotations>"
    (tmp_path / "annotations.xml").write_text(text)
    cases = {case.columns["split"]: case for case in listed(tmp_path).cases}
    assert cases["train"].source == "images/train/a.png"
    assert cases["train"].boxes_xyxy_px == ((0, 2, 9, 8),)
    assert cases["val"].boxes_xyxy_px == ((1, 2, 9, 8),)
