"""Damaged members of a set are listed and the rest goes on; a damaged table stops with one line."""

import json
import re
from functools import partial

import pytest
from support.layouts import MAKERS, image, make_coco, make_nifti, make_voc, make_yolo, save
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import InputError


@pytest.fixture
def prepare(prepare):
    """With every case in training."""
    return partial(prepare, **ALL_IN_TRAINING)


def damage(path, keep=60):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    ("name", "victim", "reason"),
    [
        ("figshare", "brainTumorDataPublic_1-3/2.mat", "2.mat cannot be read as a MATLAB 7.3 file"),
        (
            "nifti",
            "imagesTr/liver_1.nii.gz",
            "liver_1.nii.gz is not a NIfTI volume|liver_1.nii.gz is damaged",
        ),
        ("dicom", "images/series-p1/im1.dcm", "not a DICOM file"),
        ("coco", "val2017/1.jpg", "1.jpg cannot be read as an image"),
        ("yolo", "images/train/a.jpg", "a.jpg cannot be read as an image"),
        ("voc", "Annotations/a.xml", "a.xml is not a readable annotation"),
        ("busi", "benign/benign (1).png", "cannot be read as an image"),
        (
            "lgg",
            "TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1_mask.tif",
            "cannot be read as an image",
        ),
    ],
)
def test_a_damaged_file_is_listed_and_the_rest_goes_on(tmp_path, name, victim, reason, prepare):
    MAKERS[name](tmp_path / "source")
    damage(tmp_path / "source" / victim, keep=20)
    _, cases, reasons = prepare(tmp_path / "source", min_area_px=4)
    assert cases
    assert any(re.search(reason, text) for text in reasons.values()), reasons


def test_a_volume_cut_short(tmp_path, prepare):
    make_nifti(tmp_path / "source")
    path = tmp_path / "source" / "imagesTr" / "liver_1.nii.gz"
    damage(path, path.stat().st_size // 2)
    _, cases, reasons = prepare(tmp_path / "source")
    assert {case.group for case in cases.values()} == {"liver_2"}
    assert all("damaged" in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("name", "table", "text", "message"),
    [
        ("coco", "annotations/instances_val2017.json", '{"images": [', "is not readable JSON"),
        ("yolo", "data.yaml", "names: [a, b", r"data\.yaml cannot be read"),
        ("boxes-csv", "boxes.csv", "image\na\n", "expected image,x1,y1,x2,y2"),
        ("figshare", "cvind.mat", "rubbish", r"cvind\.mat cannot be read as a MATLAB 7.3 file"),
    ],
)
def test_a_damaged_table_stops_with_one_line(tmp_path, name, table, text, message, prepare):
    MAKERS[name](tmp_path / "source")
    (tmp_path / "source" / table).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / "source", dataset=name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 2 3\n", "line 1 has 3 numbers"),
        ("a b c d e\n", "line 1 is not numbers"),
        ("0 nan 0.5 0.1 0.1\n", "line 1 has a value that is not finite"),
        ("0 0.5 0.5 0.2 0.2 0.1 0.1 0.3\n", "line 1 has 9 numbers|line 1 has 8 numbers"),
        ("0 3.0 3.0 0.2 0.2\n", "1 of its boxes lie outside the image"),
    ],
)
def test_bad_yolo_lines_are_listed(tmp_path, text, reason, prepare):
    make_yolo(tmp_path / "source")
    (tmp_path / "source" / "labels" / "train" / "a.txt").write_text(text)
    _, cases, reasons = prepare(tmp_path / "source")
    assert re.search(reason, reasons["images/train/a.jpg"])
    assert set(cases) == {"b", "c", "d"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [1, 2, 3]}, "not enough values"),
        ({"category_id": 99}, "category_id 99 is none of the file's categories"),
        ({"segmentation": [[1, 2, 3, 4]]}, "fewer than three points"),
        ({"segmentation": {"counts": "\x00", "size": [24, 24]}}, "run lengths are damaged"),
        ({"segmentation": {"counts": [5, 5], "size": [24, 24]}}, "run lengths add up to 10 pixels"),
        ({"segmentation": {"counts": [16], "size": [4, 4]}}, "are of 4x4 pixels, expected 24x24"),
        ({"bbox": [float("nan"), 1, 2, 3]}, "not finite"),
    ],
)
def test_bad_coco_records_are_listed(tmp_path, change, reason, prepare):
    make_coco(tmp_path / "source")
    path = tmp_path / "source" / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0] |= change
    path.write_text(json.dumps(content))
    _, cases, reasons = prepare(tmp_path / "source")
    assert any(reason in text for text in reasons.values()), reasons
    assert set(cases) == {"2", "3"}


@pytest.mark.parametrize("name", ["../../outside.jpg", "/etc/hostname", "nowhere.jpg"])
def test_coco_names_do_not_lead_outside(tmp_path, name, prepare):
    make_coco(tmp_path / "source")
    save(tmp_path / "outside.jpg", image())
    path = tmp_path / "source" / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text().replace('"1.jpg"', json.dumps(name)))
    _, _, reasons = prepare(tmp_path / "source")
    assert f"no image file {name}" in reasons[name]


def test_an_xml_that_blows_up_is_refused(tmp_path, prepare):
    make_voc(tmp_path / "source")
    bomb = (
        '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'
    )
    (tmp_path / "source" / "Annotations" / "a.xml").write_text(bomb)
    _, _, reasons = prepare(tmp_path / "source")
    assert (
        reasons["JPEGImages/a.jpg"] == "a.xml declares a document type, which no annotation needs"
    )
