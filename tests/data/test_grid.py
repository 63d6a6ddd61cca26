"""Images on one grid of pixels in mm: sizes, values, masks, and the way back."""

import numpy as np
import pytest
import torch

from meddistill.base.errors import InputError
from meddistill.data.frames import to_frame
from meddistill.data.grid import Grid, resampled


def test_what_is_as_large_in_the_body_is_as_large_on_the_grid():
    grid = Grid(1.0, 40)
    for spacing in ((1.0, 1.0), (2.0, 2.0), (0.5, 2.0)):
        rows, columns = (round(30 / side) for side in spacing)
        image = np.zeros((rows, columns), np.uint8)
        image[: round(10 / spacing[0]), : round(20 / spacing[1])] = 255
        put = grid.put(image, spacing)
        assert put.shape == (40, 40)
        assert (put > 127).sum() == 200
        assert not put[30:].any()
        assert not put[:, 30:].any()


def test_pixels_of_the_grids_own_size_stay_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    put = Grid(1.25, 8).put(image, (1.2505, 1.25))
    np.testing.assert_array_equal(put[:5, :7], image)
    assert put.shape == (8, 8, 3)
    assert Grid(1.25, 6).put(image, (1.25, 1.25)).shape == (6, 7, 3)  # larger ones stay larger


@pytest.mark.parametrize("spacing_mm", [0.7, 2.4])
def test_pixels_are_those_that_torch_makes(spacing_mm):
    image = np.random.default_rng(1).integers(0, 256, (24, 24), dtype=np.uint8)
    found = resampled(image, spacing_mm, (1.0, 1.0))
    side = found.shape[0]
    expected = to_frame(torch.from_numpy(image)[None, None].float(), side)[0, 0].numpy()
    assert np.abs(found - expected).max() <= 1


def test_masks_that_exclude_each_other_still_do_and_empty_ones_stay_empty():
    planes = np.zeros((3, 20, 20), bool)
    planes[0, :, :9] = True
    planes[1, :, 9:] = True
    put = Grid(0.65, 40).put_masks(planes, (1.0, 1.0))
    assert put.shape == (3, 40, 40)
    assert put.dtype == bool
    assert not (put[0] & put[1]).any()
    assert abs(put[0].sum() * 0.65**2 - 9 * 20) < 0.65 * 20
    assert not put[2].any()


def test_probabilities_come_back_to_the_images_pixels():
    grid = Grid(1.0, 64)
    truth = np.zeros((50, 30), np.float32)
    truth[10:30, 8:20] = 1
    on_grid = grid.put((truth * 255).astype(np.uint8), (0.8, 1.6)).astype(np.float32) / 255
    back = grid.back(on_grid[None], truth.shape, (0.8, 1.6))
    assert back.shape == (1, 50, 30)
    assert 0 <= back.min() <= back.max() <= 1
    assert ((back[0] > 0.5) == (truth > 0.5)).mean() > 0.98
    same = grid.back(on_grid, (10, 12), (1.0, 1.0))
    np.testing.assert_array_equal(same, on_grid[:10, :12])


def test_a_spacing_that_cannot_be_meant_is_one_line():
    image = np.zeros((10, 10), np.uint8)
    with pytest.raises(InputError, match=r"10000 x 1 mm would become 10x100000 of 1 mm"):
        Grid(1.0, 8).put(image, (10000.0, 1.0))
    with pytest.raises(InputError, match="correct its spacing"):
        Grid(100.0, 8).put(image, (1.0, 1.0))
    with pytest.raises(ValueError, match="above 0"):
        Grid(0.0, 8)
