"""Figures by boxes: what counts as found, what as false, and what is left open."""

from pathlib import Path

import numpy as np
import pytest

from meddistill.data.boxes import match_overlaps
from meddistill.evaluation import box_scores
from meddistill.evaluation.box_scores import format_box_table, summarise_boxes
from meddistill.evaluation.judged_cases import JudgedCase


def case(boxes, case_id="a", group="p"):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return JudgedCase(case_id, case_id, "test", group, "", Path("a.png"), None, None, boxes=[boxes])


def score_boxes(boxed, method, found, reference, finding=""):
    return box_scores.score_boxes(boxed, method, boxed.boxes[0], found, reference, finding)


def mask(*boxes):
    drawn = np.zeros((40, 40), bool)
    for x1, y1, x2, y2 in boxes:
        drawn[y1:y2, x1:x2] = True
    return drawn


def test_each_box_has_one_partner_the_best_first():
    target = np.array([[0, 0, 10, 10], [0, 0, 10, 8]], np.float32)
    pred = np.array([[0, 0, 10, 8]], np.float32)
    assert match_overlaps(pred, target).tolist() == [0, 1]
    assert match_overlaps(pred[:0], target).tolist() == [0, 0]
    assert match_overlaps(pred, target[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(4, 4, 14, 14)], (1, 1, 0, 1.0)),
        ([(4, 4, 14, 9)], (1, 1, 0, 0.5)),
        ([(4, 4, 14, 8)], (0, 1, 0, 0.4)),
        ([(4, 4, 14, 5)], (0, 1, 0, 0.1)),
        ([(4, 4, 5, 5)], (0, 0, 1, 0.01)),
        ([(4, 4, 14, 14), (20, 20, 22, 22)], (1, 1, 1, 1.0)),
        ([], (0, 0, 0, 0.0)),
    ],
)
def test_a_box_is_found_by_the_box_of_a_component(found, expected):
    row = score_boxes(case([(4, 4, 14, 14)]), "student", mask(*found), None)
    told = (row.found_50, row.found_10, row.false_boxes, pytest.approx(row.box_iou))
    assert told == expected
    assert row.agreement is None


def test_an_image_without_boxes_can_only_have_false_ones():
    row = score_boxes(case([]), "student", mask((1, 1, 3, 3)), mask())
    assert (row.n_boxes, row.false_boxes, row.box_iou, row.agreement) == (0, 1, None, None)


def test_agreement_is_the_dice_with_the_reference():
    boxed = case([(0, 0, 10, 10)])
    row = score_boxes(boxed, "student", mask((0, 0, 10, 10)), mask((0, 0, 5, 10)))
    assert row.agreement == pytest.approx(2 * 50 / 150)
    assert score_boxes(boxed, "student", mask(), mask()).agreement == 1


def test_figures_are_pooled_over_boxes_and_images():
    rows = [
        score_boxes(
            case([(0, 0, 10, 10), (20, 20, 30, 30)], "a", "p"),
            "student",
            mask((0, 0, 10, 10)),
            mask((0, 0, 10, 10)),
        ),
        score_boxes(case([], "b", "q"), "student", mask((1, 1, 3, 3)), None),
    ]
    figures = summarise_boxes(rows)["student"]
    assert figures["box_iou"]["mean"] == figures["found_50"]["mean"] == 0.5
    assert figures["false_per_image"]["mean"] == 0.5
    assert (figures["agreement"]["mean"], figures["agreement"]["n"]) == (1, 1)
    assert figures["false_per_image"]["ci95"] == (0, 1)
    assert "0.500" in format_box_table({"student": figures}, {"student": "student"})


def test_no_box_anywhere_leaves_the_share_open():
    figures = summarise_boxes([score_boxes(case([]), "student", mask(), None)])["student"]
    assert figures["box_iou"] is figures["found_50"] is figures["agreement"] is None
    assert format_box_table({"student": figures}, {}).count("-") >= 4
