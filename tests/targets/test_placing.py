"""A window's maps on the whole image: the part that is held, and what the rest is."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from meddistill.targets.placing import NOTHING, Part, part_on_image
from meddistill.teachers.teacher import resize_maps


class PlainFrames:
    """A teacher whose maps show all of the image."""

    def to_image(self, logits, size_hw):
        return resize_maps(logits, size_hw)


def _sampled_everywhere(logits, window, size_hw, content_hw):
    """As `part_on_image`, each pixel of the image sampled."""
    left, top, right, bottom = window
    scale_y, scale_x = content_hw[0] / size_hw[0], content_hw[1] / size_hw[1]
    height, width = (bottom - top) * scale_y, (right - left) * scale_x
    local = resize_maps(logits, (max(1, round(height)), max(1, round(width))))
    y = (torch.arange(content_hw[0]) + 0.5 - top * scale_y) / height * 2 - 1
    x = (torch.arange(content_hw[1]) + 0.5 - left * scale_x) / width * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    return F.grid_sample(local[None] + 30, grid, align_corners=False)[0] - 30


@pytest.mark.parametrize("seed", range(40))
def test_sampling_the_part_alone_gives_what_sampling_the_whole_image_gives(seed):
    rng = np.random.default_rng(seed)
    size_hw = tuple(rng.integers(20, 90, 2))
    content_hw = tuple(max(1, round(side * rng.uniform(0.1, 1.5))) for side in size_hw)
    top, left = (int(rng.integers(0, side - 2)) for side in size_hw)
    bottom, right = int(rng.integers(top + 1, size_hw[0])), int(rng.integers(left + 1, size_hw[1]))
    logits = torch.from_numpy(rng.normal(0, 8, (2, 16, 16)).astype(np.float32))
    window = (left, top, right, bottom)
    placed = part_on_image(PlainFrames(), logits, window, size_hw, content_hw).whole(content_hw)
    torch.testing.assert_close(
        placed, _sampled_everywhere(logits, window, size_hw, content_hw), rtol=0, atol=1e-5
    )


def test_a_small_window_of_a_large_image_is_held_as_a_small_part():
    part = part_on_image(
        PlainFrames(), torch.ones(1, 64, 64), (500, 700, 580, 740), (2000, 3000), (2000, 3000)
    )
    assert part.logits.shape[1] <= 44
    assert part.logits.shape[2] <= 84
    assert float(part.whole((2000, 3000))[0, 720, 540]) == 1
    assert float(part.whole((2000, 3000))[0, 0, 0]) == NOTHING


def test_the_larger_of_two_maps_is_nothing_or_more_outside_of_the_part():
    part = Part(torch.tensor([[[1.0, -40.0]]]), slice(1, 2), slice(0, 2))
    largest = torch.tensor([[-50.0, 2.0, 3.0], [0.0, -50.0, -60.0]])
    assert part.larger_of(largest).tolist() == [[NOTHING, 2.0, 3.0], [1.0, -40.0, NOTHING]]
