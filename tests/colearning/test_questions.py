"""What boxed images alone say: who proposes, and whether more boxes would help."""

import dataclasses
import shutil

import numpy as np
import pytest
from support.bright_squares import prepare_squares
from support.evaluation_data import finish
from support.findings_run import make_findings_run

from meddistill.base.csv_tables import write_table
from meddistill.colearning.questions import (
    Questioned,
    detector_box_iou,
    half_of,
    load_questioned,
    more_boxes,
    save_questioned,
    who_proposes,
)
from meddistill.run.dataset import Dataset
from meddistill.run.layout import BOXES_CSV
from meddistill.run.tables import BoxRow

FOUND = Questioned(dice=0.7, box_iou=0.6, half_dice=0.6, n_boxed=20, n_groups=9)


def test_it_is_read_back(tmp_path):
    assert load_questioned(tmp_path) is None
    save_questioned(tmp_path, FOUND)
    assert load_questioned(tmp_path) == FOUND


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "would likely help: from half of the boxed images to all 20"),
        ({"half_dice": 0.68}, "may help a little"),
        ({"half_dice": 0.7}, "would hardly help"),
        ({"half_dice": 0.75}, "would hardly help"),
        ({"half_dice": None, "n_groups": 4}, "too few boxed images or patients to tell"),
        ({"half_dice": None}, "unknown: it takes an odd number of heads to tell"),
        ({"n_boxed": 9}, "too few boxed images or patients to tell"),
    ],
)
def test_more_boxes_are_advised_by_what_the_last_half_gave(change, told):
    assert more_boxes(dataclasses.replace(FOUND, **change)).startswith(told)


def test_of_a_single_image_nothing_is_concluded():
    assert more_boxes(None).startswith("too few boxed images")
    assert "says nothing of it" in who_proposes(None, None)


@pytest.mark.parametrize(
    ("detector", "told"),
    [
        (None, "no detector is needed"),
        ((0.9, 4), "too few to go by"),
        ((0.7, 30), "it may be the better one"),
        ((0.5, 30), "is not used"),
    ],
)
def test_the_detector_is_questioned(detector, told):
    line = who_proposes(FOUND, detector)
    assert line.startswith("the head proposes on unboxed images: its boxes have an IoU of 0.60")
    assert told in line


def test_halves_are_half_of_the_other_folds():
    assert half_of(0, [0, 1, 2, 3, 4]) == [1, 2]
    assert half_of(4, [0, 1, 2, 3, 4]) == [0, 1]
    assert half_of(1, [0, 1, 2]) == [2]
    assert half_of(0, [0, 1, 2, 3]) is None
    assert half_of(0, [0, 1]) is None
    assert half_of(0, [0]) is None


def test_a_detector_is_measured_on_validation_boxes(tmp_path):
    run = prepare_squares(tmp_path, count=10, boxed=0)
    data = Dataset.open(run.data)
    assert detector_box_iou(run.detector, data) is None
    cases = [dataclasses.replace(case, split="val") for case in data.cases[:2]]
    first = data.boxes(data.cases[0])[0]
    rows = [BoxRow(cases[0].case_id, "val", *map(float, first), 0.9, "lesion")]
    write_table(run.detector / BOXES_CSV, BoxRow, rows)
    finish(run.detector, "detect")

    class Moved(Dataset):
        def boxes(self, case):
            return data.boxes(data.by_id[case.case_id])

    iou, count = detector_box_iou(run.detector, Moved(run.data, cases))
    assert (iou, count) == (pytest.approx(0.5), 2)
    assert detector_box_iou(run.detector, Moved(run.data, data.cases[:0])) is None
    assert np.isfinite(iou)


def test_a_detector_that_takes_one_finding_for_another_has_not_found_it(tmp_path):
    run = make_findings_run(tmp_path)
    data = Dataset.open(run.data)
    cases = [dataclasses.replace(data.by_id["a1"], split="val")]
    for folder in ("labels", "images"):
        shutil.copytree(run.data / folder / "test", run.data / folder / "val")
    (red, green), seen_as = data.boxes(cases[0]), ("red", "blue")
    rows = [
        BoxRow("a1", "val", *map(float, box), 0.9, name)
        for box, name in zip((red, green), seen_as, strict=True)
    ]
    write_table(run.detector / BOXES_CSV, BoxRow, rows)
    finish(run.detector, "detect")
    assert detector_box_iou(run.detector, Dataset(run.data, cases)) == (pytest.approx(0.5), 2)
