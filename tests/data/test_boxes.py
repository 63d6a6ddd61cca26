import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meddistill.data.boxes import box_iou, clip_boxes, fill_boxes, mask_to_boxes


def mask_of(*boxes, size_hw=(20, 30)):
    return fill_boxes(np.array(boxes, dtype=np.float32).reshape(-1, 4), size_hw)


def test_a_box_is_half_open_and_touches_its_pixels():
    mask = np.zeros((20, 30), dtype=bool)
    mask[3:7, 10:15] = True
    assert mask_to_boxes(mask).tolist() == [[10, 3, 15, 7]]
    assert mask_to_boxes(mask).dtype == np.float32


def test_one_pixel_is_a_box_of_one_pixel():
    mask = np.zeros((5, 5), dtype=bool)
    mask[4, 0] = True
    assert mask_to_boxes(mask).tolist() == [[0, 4, 1, 5]]


def test_an_empty_mask_has_no_box():
    assert mask_to_boxes(np.zeros((5, 5), dtype=bool)).shape == (0, 4)


def test_a_full_mask_is_the_whole_image():
    assert mask_to_boxes(np.ones((4, 9), dtype=bool)).tolist() == [[0, 0, 9, 4]]


def test_components_come_largest_first_and_small_ones_go():
    mask = mask_of([0, 0, 2, 2], [10, 10, 20, 18], [25, 0, 26, 1])
    assert mask_to_boxes(mask, min_area_px=4).tolist() == [[10, 10, 20, 18], [0, 0, 2, 2]]


def test_pixels_that_touch_at_a_corner_are_one_component():
    mask = np.eye(4, dtype=bool)
    assert mask_to_boxes(mask).tolist() == [[0, 0, 4, 4]]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 9), st.integers(1, 9))
def test_boxes_to_mask_to_boxes(x, y, width, height):
    box = [x, y, x + width, y + height]
    assert mask_to_boxes(mask_of(box, size_hw=(32, 32))).tolist() == [box]


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ([0, 0, 4, 4], [0, 0, 4, 4], 1.0),
        ([0, 0, 4, 4], [4, 0, 8, 4], 0.0),
        ([0, 0, 4, 4], [2, 0, 6, 4], 8 / 24),
        ([0, 0, 4, 4], [1, 1, 3, 3], 4 / 16),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.0),
    ],
)
def test_iou_of_boxes_one_can_draw(a, b, iou):
    assert box_iou([a], [b]).tolist() == [[pytest.approx(iou)]]
    assert box_iou([b], [a]).tolist() == [[pytest.approx(iou)]]


def test_iou_of_no_boxes():
    assert box_iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


def test_fill_covers_pixels_that_a_fractional_box_touches():
    assert fill_boxes(np.array([[0.5, 1.2, 2.1, 2.0]]), (4, 4)).nonzero()[1].tolist() == [0, 1, 2]
    assert not fill_boxes(np.zeros((0, 4)), (4, 4)).any()
    assert not fill_boxes(np.array([[10, 10, 20, 20]]), (4, 4)).any()


def test_clip_keeps_rows():
    clipped = clip_boxes(np.array([[-5, -5, 3, 50], [100, 0, 110, 5]]), (10, 20))
    assert clipped.tolist() == [[0, 0, 3, 10], [20, 0, 20, 5]]


def test_numbered_objects_that_touch_have_a_box_each():
    numbers = np.zeros((12, 12), dtype=np.int32)
    numbers[1:5, 1:5], numbers[1:5, 5:8], numbers[9, 9] = 1, 2, 3
    numbers[8, 0] = 1  # another part of the first
    assert mask_to_boxes(numbers, min_area_px=2).tolist() == [[0, 1, 5, 9], [5, 1, 8, 5]]
    assert mask_to_boxes(np.zeros((4, 4), np.int32)).shape == (0, 4)
