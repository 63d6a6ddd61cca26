"""Metrics: known answers on masks that can be drawn, medpy on the full image, and a brute-force
count."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from medpy.metric import binary

from meddistill.evaluation.metrics import (
    DEFINITIONS,
    box_around,
    count_overlap,
    dice,
    outline_distances,
    score_case,
    surface_distances,
)


def draw(text: str) -> np.ndarray:
    return np.array([[char == "#" for char in line.strip()] for line in text.strip().splitlines()])


SQUARE = draw("""
    ......
    .##...
    .##...
    ......
    ......
""")
EMPTY = np.zeros((5, 6), dtype=bool)
DIAGONAL = math.hypot(5, 6)


def test_a_perfect_prediction_scores_one_and_zero():
    scores = score_case(SQUARE, SQUARE, (0.5, 0.5)).values()
    for name in ("dice", "iou", "sensitivity", "precision", "specificity", "nsd_px", "nsd_mm"):
        assert scores[name] == 1
    for name in ("hd_px", "hd95_px", "assd_px", "hd_mm", "hd95_mm", "assd_mm", "area_error"):
        assert scores[name] == 0
    assert list(scores) == list(DEFINITIONS)


def test_a_square_shifted_by_one_pixel():
    scores = score_case(np.roll(SQUARE, 1, axis=1), SQUARE)
    assert (scores.overlap.tp, scores.overlap.fp, scores.overlap.fn, scores.overlap.tn) == (
        2,
        2,
        2,
        24,
    )
    assert scores.overlap.dice == 0.5
    assert scores.overlap.iou == pytest.approx(1 / 3)
    assert scores.overlap.sensitivity == scores.overlap.precision == 0.5
    assert scores.overlap.specificity == pytest.approx(24 / 26)
    # Every pixel is outline: half of them lie on the other's outline, half one pixel away.
    assert (scores.px.hd, scores.px.hd95, scores.px.assd) == (1, 1, 0.5)
    assert scores.mm is None
    assert scores.values()["hd_mm"] is None


@pytest.mark.parametrize(("tolerance", "share"), [(0, 0.5), (0.99, 0.5), (1, 1.0)])
def test_nsd_counts_outline_pixels_within_the_tolerance(tolerance, share):
    assert outline_distances(np.roll(SQUARE, 1, axis=1), SQUARE, tolerance=tolerance).nsd == share


def test_too_large_and_too_small_areas_have_opposite_signs():
    twice = SQUARE | np.roll(SQUARE, 2, axis=1)
    assert score_case(twice, SQUARE).overlap.area_error == pytest.approx(2 * 4 / 12)
    assert score_case(SQUARE, twice).overlap.area_error == pytest.approx(-2 * 4 / 12)


def test_both_empty_is_perfect():
    scores = score_case(EMPTY, EMPTY, (2.0, 2.0))
    assert not scores.missed
    assert not scores.false_alarm
    values = scores.values()
    assert [
        values[name]
        for name in ("dice", "iou", "sensitivity", "precision", "specificity", "nsd_px")
    ] == [1] * 6
    assert [values[name] for name in ("hd_px", "hd95_px", "assd_px", "hd_mm", "area_error")] == [
        0
    ] * 5


@pytest.mark.parametrize("missed", [True, False], ids=["missed", "false alarm"])
def test_one_empty_costs_the_diagonal_and_is_counted(missed):
    pred, target = (EMPTY, SQUARE) if missed else (SQUARE, EMPTY)
    scores = score_case(pred, target, (2.0, 1.0))
    assert (scores.missed, scores.false_alarm) == (missed, not missed)
    values = scores.values()
    assert [
        values[name] for name in ("dice", "iou", "sensitivity", "precision", "nsd_px", "nsd_mm")
    ] == [0] * 6
    assert [values[name] for name in ("hd_px", "hd95_px", "assd_px")] == [DIAGONAL] * 3
    assert values["hd95_mm"] == pytest.approx(math.hypot(5 * 2, 6 * 1))
    assert values["area_error"] == (-2 if missed else 2)
    assert values["specificity"] == (1 if missed else pytest.approx(26 / 30))


def test_a_truth_that_fills_the_image():
    full = np.ones((4, 4), dtype=bool)
    assert score_case(full, full).overlap.specificity == 1
    assert score_case(full, full).px.hd == 0


@pytest.mark.parametrize(
    ("shift_axis", "expected_mm"), [(0, 3.0), (1, 0.5)], ids=["rows", "columns"]
)
def test_spacing_is_row_then_column(shift_axis, expected_mm):
    point = np.zeros((7, 7), dtype=bool)
    point[3, 3] = True
    distances = outline_distances(np.roll(point, 1, axis=shift_axis), point, (3.0, 0.5))
    assert (distances.hd, distances.hd95, distances.assd) == (expected_mm,) * 3


def test_hd95_pools_both_directions():
    # 19 pixels agree and one of pred lies 10 px off: 1 of the 39 pooled distances is 10, the 95th
    # percentile is 0; the maximum over directions of directed 95th percentiles would be 0.5.
    target = np.zeros((3, 40), dtype=bool)
    target[1, :19] = True
    pred = target.copy()
    pred[1, 28] = True
    assert outline_distances(pred, target).hd == 10
    assert outline_distances(pred, target).hd95 == 0
    assert outline_distances(pred, target).assd == pytest.approx(10 / 39)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        score_case(SQUARE, SQUARE[:3])
    with pytest.raises(ValueError, match="one shape"):
        count_overlap(SQUARE[0], SQUARE[0])
    with pytest.raises(ValueError, match="boolean, got uint8"):
        dice(SQUARE.astype(np.uint8), SQUARE)
    with pytest.raises(ValueError, match="spacing must be above 0"):
        score_case(SQUARE, SQUARE, (0.0, 1.0))


def test_box_around_is_half_open_and_stays_inside():
    rows, columns = box_around(SQUARE)
    assert (rows, columns) == (slice(0, 4), slice(0, 4))
    corner = np.zeros((5, 6), dtype=bool)
    corner[4, 5] = True
    assert box_around(corner) == (slice(3, 5), slice(4, 6))
    assert box_around(corner, margin_px=0) == (slice(4, 5), slice(5, 6))


# Small images make 1-pixel, border-touching and full masks common.
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
two_masks = sizes.flatmap(lambda size: st.tuples(hnp.arrays(bool, size), hnp.arrays(bool, size)))
sparse_masks = sizes.flatmap(
    lambda size: st.tuples(*[hnp.arrays(bool, size, fill=st.just(False))] * 2)
)
spacings = st.tuples(st.sampled_from([0.25, 0.7, 1.0, 3.5]), st.sampled_from([0.3, 1.0, 2.0]))


def outline_pixels(mask: np.ndarray) -> list[tuple[int, int]]:
    height, width = mask.shape
    found = []
    for row in range(height):
        for column in range(width):
            around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
            inside = [0 <= r < height and 0 <= c < width and mask[r, c] for r, c in around]
            if mask[row, column] and not all(inside):
                found.append((row, column))
    return found


def brute_force(pred: np.ndarray, target: np.ndarray, spacing: tuple[float, float]) -> list[float]:
    a, b = outline_pixels(pred), outline_pixels(target)

    def nearest(point, others):
        return min(
            math.hypot((point[0] - r) * spacing[0], (point[1] - c) * spacing[1]) for r, c in others
        )

    return [nearest(point, b) for point in a] + [nearest(point, a) for point in b]


@settings(max_examples=150, deadline=None)
@given(two_masks | sparse_masks, spacings)
def test_distances_equal_a_brute_force_search(masks, spacing):
    pred, target = masks
    if not (pred.any() and target.any()):
        return
    expected = brute_force(pred, target, spacing)
    assert sorted(surface_distances(pred, target, spacing)) == pytest.approx(sorted(expected))
    distances = outline_distances(pred, target, spacing, tolerance=1.2)
    assert distances.hd == pytest.approx(max(expected))
    assert distances.hd95 == pytest.approx(np.percentile(expected, 95))
    assert distances.assd == pytest.approx(sum(expected) / len(expected))
    assert distances.nsd == pytest.approx(sum(value <= 1.2 for value in expected) / len(expected))


@settings(max_examples=150, deadline=None)
@given(two_masks | sparse_masks, spacings)
def test_numbers_are_medpys_on_the_full_image(masks, spacing):
    pred, target = masks
    overlap = count_overlap(pred, target)
    assert overlap.tp + overlap.fp + overlap.fn + overlap.tn == pred.size
    if not (pred.any() and target.any()):
        return
    assert overlap.dice == pytest.approx(binary.dc(pred, target))
    assert overlap.iou == pytest.approx(binary.jc(pred, target))
    assert overlap.sensitivity == pytest.approx(binary.sensitivity(pred, target))
    assert overlap.precision == pytest.approx(binary.precision(pred, target))
    if not target.all():
        assert overlap.specificity == pytest.approx(binary.specificity(pred, target))
    distances = outline_distances(pred, target, spacing)
    assert distances.hd == binary.hd(pred, target, voxelspacing=spacing)
    assert distances.hd95 == binary.hd95(pred, target, voxelspacing=spacing)
    assert distances.assd == binary.assd(pred, target, voxelspacing=spacing)


@settings(max_examples=60, deadline=None)
@given(two_masks, spacings)
def test_every_metric_is_finite_and_distances_are_symmetric(masks, spacing):
    pred, target = masks
    values = score_case(pred, target, spacing).values()
    assert all(math.isfinite(value) for value in values.values())
    swapped = score_case(target, pred, spacing).values()
    for name in (
        "dice",
        "iou",
        "hd_px",
        "hd95_px",
        "assd_px",
        "nsd_px",
        "hd_mm",
        "hd95_mm",
        "assd_mm",
        "nsd_mm",
    ):
        assert values[name] == pytest.approx(swapped[name])
    assert values["area_error"] == pytest.approx(-swapped["area_error"])
