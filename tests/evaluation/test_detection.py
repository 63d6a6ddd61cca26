"""Matching, precision, recall, average precision and the choice of a threshold, on boxes that can
be drawn."""

import numpy as np
import pytest

from meddistill.evaluation.detection import (
    average_precision,
    choose_confidence,
    curve_points,
    match_boxes,
    mean_average_precision,
    precision_recall,
)

NONE = np.zeros((0, 4), dtype=np.float32)
LEFT = [0, 0, 10, 10]
RIGHT = [50, 0, 60, 10]
FAR = [80, 80, 90, 90]


def boxes(*rows):
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def curve_of(*images, iou=0.5):
    preds, scores, targets = zip(*images, strict=True)
    return precision_recall(preds, [np.array(score, dtype=float) for score in scores], targets, iou)


def test_each_annotated_box_is_found_once_and_by_the_surer_detection():
    pred = boxes(LEFT, LEFT, FAR)
    assert match_boxes(pred, np.array([0.5, 0.9, 0.8]), boxes(LEFT)).tolist() == [
        False,
        True,
        False,
    ]


def test_an_overlap_of_just_the_limit_counts_and_one_below_does_not():
    half = boxes([0, 0, 10, 5])  # IoU exactly 0.5 with LEFT
    assert match_boxes(half, np.array([1.0]), boxes(LEFT), iou=0.5).tolist() == [True]
    assert match_boxes(half, np.array([1.0]), boxes(LEFT), iou=0.51).tolist() == [False]


def test_nothing_found_and_nothing_to_find():
    assert match_boxes(NONE, np.zeros(0), boxes(LEFT)).shape == (0,)
    assert match_boxes(boxes(LEFT), np.ones(1), NONE).tolist() == [False]


def test_precision_and_recall_at_a_threshold():
    curve = curve_of(
        (boxes(LEFT, FAR), [0.9, 0.6], boxes(LEFT, RIGHT)),
        (boxes(RIGHT), [0.7], boxes(RIGHT)),
    )
    assert curve.at(0.8) == (1.0, pytest.approx(1 / 3))
    assert curve.at(0.65) == (1.0, pytest.approx(2 / 3))
    assert curve.at(0.1) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert curve.at(0.95) == (None, 0.0)


def test_a_split_without_lesions_has_no_recall_but_a_precision():
    curve = curve_of((boxes(FAR), [0.6], NONE))
    assert curve.at(0.5) == (0.0, None)
    assert average_precision(curve) == 0.0
    assert choose_confidence(curve) is None


def test_average_precision_of_perfect_half_and_no_detections():
    assert average_precision(
        curve_of((boxes(LEFT, RIGHT), [0.9, 0.8], boxes(LEFT, RIGHT)))
    ) == pytest.approx(1)
    # One of two found: precision 1 at the 51 recalls from 0 to 0.5, 0 at the other 50.
    assert average_precision(curve_of((boxes(LEFT), [0.9], boxes(LEFT, RIGHT)))) == pytest.approx(
        51 / 101
    )
    # A surer false alarm: precision 1/2 over all recalls.
    assert average_precision(
        curve_of((boxes(FAR, LEFT), [0.9, 0.5], boxes(LEFT)))
    ) == pytest.approx(0.5)
    assert average_precision(curve_of((NONE, [], boxes(LEFT)))) == 0.0


def test_mean_average_precision_falls_with_loose_boxes():
    loose = boxes([0, 0, 10, 7.6])  # IoU 0.76: right at 0.50 ... 0.75, six of ten limits
    assert mean_average_precision([loose], [np.ones(1)], [boxes(LEFT)]) == pytest.approx(0.6)


def test_the_threshold_with_the_best_f1_is_chosen():
    curve = curve_of(
        (boxes(LEFT, FAR), [0.9, 0.3], boxes(LEFT)),
        (boxes(RIGHT), [0.61234], boxes(RIGHT)),
        (boxes(FAR), [0.2], NONE),
    )
    threshold = choose_confidence(curve)
    assert threshold == pytest.approx(0.6123)
    assert curve.at(threshold) == (1.0, 1.0)


def test_of_thresholds_with_equal_f1_the_lowest_is_chosen():
    # 0.9 alone: P 1, R 1/2, F1 2/3. Down to 0.4: P 2/4, R 2/2, F1 2/3.
    curve = curve_of((boxes(LEFT, FAR, FAR, RIGHT), [0.9, 0.8, 0.7, 0.4], boxes(LEFT, RIGHT)))
    assert choose_confidence(curve) == pytest.approx(0.4)


def test_detections_of_equal_confidence_stand_or_fall_together():
    # Taken apart, the first of the two would give F1 1; no threshold can do that.
    curve = curve_of((boxes(LEFT, FAR), [0.5, 0.5], boxes(LEFT)))
    assert choose_confidence(curve) == pytest.approx(0.5)
    assert curve.at(0.5) == (0.5, 1.0)


def test_curve_points_are_plain_and_few():
    scores = np.linspace(1, 0.01, 1000)
    curve = curve_of((np.tile(boxes(LEFT), (1000, 1)), scores, boxes(LEFT)))
    points = curve_points(curve, limit=50)
    assert {len(values) for values in points.values()} == {50}
    assert points["confidence"][0] == 1.0
    assert points["confidence"][-1] == pytest.approx(0.01)
    assert curve_points(curve_of((NONE, [], boxes(LEFT))))["recall"] == []
