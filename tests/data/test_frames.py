"""Known answers of the student's frame."""

import pytest
import torch

from meddistill.data.frames import to_frame

STRIPES = torch.tensor([255.0, 0.0, 0.0, 0.0]).repeat(32)


@pytest.mark.parametrize("height", [1, 2, 40])
def test_a_side_that_shrinks_is_averaged_whatever_becomes_of_the_other(height):
    """Of an image of one row the row stays one: not to be taken for an image that grows."""
    frame = to_frame(STRIPES.expand(1, 3, height, 128), 32)
    assert frame.shape == (1, 3, 32, 32)
    torch.testing.assert_close(frame[0, :, 0, 2:-2], torch.full((3, 28), 255 / 4))


def test_an_image_that_grows_is_not_averaged():
    frame = to_frame(torch.tensor([[0.0, 255.0]]).expand(1, 1, 1, 2), 4)
    torch.testing.assert_close(frame[0, 0, 0], torch.tensor([0.0, 63.75, 191.25, 255.0]))
