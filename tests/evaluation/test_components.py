"""Lesions one by one: matched, counted, cleaned up. Drawn: '#' is lesion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.evaluation_data import square

from meddistill.evaluation.components import LesionCounts, clean_up, confuse_lesions, match_lesions


def draw(text):
    return np.array([[char == "#" for char in line.strip()] for line in text.strip().splitlines()])


TWO = draw("""
    ##....
    ##....
    ......
    ....##
""")
EMPTY = np.zeros_like(TWO)


@pytest.mark.parametrize(
    ("pred", "target", "counts"),
    [
        (TWO, TWO, (2, 0, 0)),
        (EMPTY, TWO, (0, 2, 0)),
        (TWO, EMPTY, (0, 0, 2)),
        (EMPTY, EMPTY, (0, 0, 0)),
        (np.roll(TWO, 3, axis=1), TWO, (0, 2, 2)),
        (np.ones_like(TWO), TWO, (1, 1, 0)),  # one prediction over two lesions finds one of them
    ],
    ids=["all", "none", "no lesion", "nothing", "elsewhere", "merged"],
)
def test_lesions_are_matched_one_to_one(pred, target, counts):
    assert match_lesions(pred, target) == LesionCounts(*counts)


def test_pixels_that_touch_by_a_corner_are_one_lesion():
    assert match_lesions(np.eye(4, dtype=bool), np.eye(4, dtype=bool)).found == 1


def test_a_split_prediction_finds_the_lesion_once():
    target = np.ones((1, 9), dtype=bool)
    pred = target.copy()
    pred[0, 5] = False
    assert match_lesions(pred, target) == LesionCounts(found=1, missed=0, false=1)


@pytest.mark.parametrize(("min_iou", "found"), [(0.2, 1), (0.21, 0), (0.0, 1)])
def test_the_overlap_asked_for_decides(min_iou, found):
    target = np.zeros((1, 6), dtype=bool)
    target[0, :3] = True
    assert (
        match_lesions(np.roll(target, 2, axis=1), target, min_iou=min_iou).found == found
    )  # IoU 1 / 5


def test_lesions_that_do_not_touch_never_match_even_at_no_overlap_asked():
    assert match_lesions(np.roll(TWO, 3, axis=1), TWO, min_iou=0.0).found == 0


def test_f1_of_nothing_is_one():
    assert LesionCounts(0, 0, 0).f1 == 1
    assert LesionCounts(0, 1, 0).f1 == 0
    assert LesionCounts(2, 1, 1).f1 == pytest.approx(4 / 6)


def test_small_components_are_removed():
    assert (clean_up(TWO, min_component_px=3) == draw("##....\n##....\n......\n......")).all()
    assert (clean_up(TWO, min_component_px=2) == TWO).all()
    assert not clean_up(TWO, min_component_px=5).any()


def test_the_largest_component_is_kept():
    assert clean_up(TWO, keep_largest=True).sum() == 4
    assert not clean_up(TWO, keep_largest=True, min_component_px=5).any()
    assert not clean_up(EMPTY, keep_largest=True).any()


def test_without_wishes_the_mask_is_left_alone():
    assert clean_up(TWO) is TWO


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, (6, 7)), hnp.arrays(bool, (6, 7)), st.integers(0, 9))
def test_counts_add_up_whatever_the_masks(pred, target, area):
    counts, swapped = match_lesions(pred, target), match_lesions(target, pred)
    alone = match_lesions(target, target)
    assert counts.found + counts.missed == alone.found
    assert (swapped.missed, swapped.false) == (counts.false, counts.missed)
    kept = clean_up(pred, min_component_px=area)
    assert not (kept & ~pred).any()
    assert (clean_up(kept, min_component_px=area) == kept).all()


def test_a_lesion_may_be_found_as_another_finding():
    here, there, alone = square(2, 2, 8), square(20, 20, 8), square(2, 30, 6)
    nothing = np.zeros_like(here)
    target = np.stack([here, there, alone])
    pred = np.stack([here | there, nothing, nothing])  # the second as the first
    assert confuse_lesions(pred, target).tolist() == [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
    ]
    false = confuse_lesions(np.stack([nothing, alone]), np.stack([nothing, nothing]))
    assert false.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert not confuse_lesions(np.stack([nothing]), np.stack([nothing])).any()


def test_findings_that_lie_in_each_other_are_matched_within_a_finding_first():
    whole, core = square(2, 2, 20), square(4, 4, 18)
    found = confuse_lesions(np.stack([core, whole]), np.stack([whole, core]))
    assert found.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
