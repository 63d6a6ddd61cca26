"""Random views: image and target move together, the cached view stays, nothing depends on the
batch."""

import numpy as np
import pytest
import torch

from meddistill.training.augment import Augmentation, _affine_matrices
from meddistill.training.packed_cases import CaseTarget, PackedCases

SIZE = 48


def packed(count=6):
    cases = PackedCases([f"c{i}" for i in range(count)], SIZE)
    for index in range(count):
        image = torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8)
        image[16:30, 12:28] = 200
        probs = (image[..., 0] > 0).float().numpy()
        cases.put(index, image.numpy(), CaseTarget(probs, 0.25 * probs))
    return cases


def started(count=6, seed=0, epoch=0, **kind):
    """Views of the first `count` cases of an epoch."""
    augmentation = Augmentation(SIZE, seed, **kind)
    numbers = augmentation.numbers(epoch, count)

    def view(batch, cached_view):
        return augmentation(batch, cached_view, numbers[batch.index])

    return view


def test_image_target_and_uncertainty_move_together():
    batch = packed().batch(torch.arange(6))
    view = started()(batch, torch.zeros(6, dtype=torch.bool))
    assert not torch.equal(view.probs, batch.probs)
    bright = view.images.mean(1, keepdim=True)
    inside, outside = view.probs > 0.99, view.probs < 0.01
    for case in range(6):
        assert bright[case][inside[case]].min() > bright[case][outside[case]].mean() + 60
    assert torch.allclose(view.uncertainty, view.probs * 0.25, atol=1e-5)
    assert view.images.min() >= 0
    assert view.images.max() <= 255


def test_the_cached_view_keeps_its_geometry_and_changes_its_intensity():
    batch = packed().batch(torch.arange(6))
    cached = torch.tensor([True, False, True, False, False, False])
    view = started()(batch, cached)
    assert torch.equal(view.probs[cached], batch.probs[cached])
    assert torch.equal(view.uncertainty[cached], batch.uncertainty[cached])
    assert not torch.equal(view.images[cached], batch.images[cached])
    assert not torch.equal(view.probs[~cached], batch.probs[~cached])


def test_a_view_does_not_depend_on_its_batch():
    cases, augmentation = packed(), started()
    none = torch.zeros(6, dtype=torch.bool)
    together = augmentation(cases.batch(torch.tensor([5, 2, 0])), none[:3])
    alone = augmentation(cases.batch(torch.tensor([2])), none[:1])
    assert torch.allclose(together.images[1], alone.images[0], atol=1e-3)
    assert torch.allclose(together.probs[1], alone.probs[0], atol=1e-5)


def test_grey_images_change_as_colour_ones_would():
    cases, colour, grey = packed(), started(), started(is_grey=True)
    cached = torch.tensor([True, False, True, False, False, False])
    assert cases.is_grey
    batch = cases.batch(torch.arange(6))
    for mine, theirs in zip(
        vars(grey(batch, cached)).values(), vars(colour(batch, cached)).values(), strict=True
    ):
        torch.testing.assert_close(mine, theirs, equal_nan=True)
    tinted = np.zeros((SIZE, SIZE, 3), np.uint8)
    tinted[0, 0, 2] = 1
    cases.put(0, tinted, CaseTarget(np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))))
    assert not cases.is_grey


def test_views_follow_seed_and_epoch():
    batch, none = packed().batch(torch.arange(6)), torch.zeros(6, dtype=torch.bool)
    first = started(epoch=0)(batch, none).images
    assert torch.equal(first, started(epoch=0)(batch, none).images)
    assert not torch.equal(first, started(epoch=1)(batch, none).images)
    assert not torch.equal(first, started(seed=1)(batch, none).images)


def test_flips_happen_to_about_half_of_the_cases():
    cases = packed(64)
    left = torch.zeros(64, dtype=torch.bool)
    batch = cases.batch(torch.arange(64))
    columns = torch.arange(SIZE).float()
    before = (batch.probs.sum(2) * columns).sum(-1) / batch.probs.sum((2, 3))
    view = started(64)(batch, left)
    after = (view.probs.sum(2) * columns).sum(-1) / view.probs.sum((2, 3))
    # The lesion lies left of the middle: after a flip it lies right of it.
    flipped = ((before < SIZE / 2) != (after < SIZE / 2)).sum()
    assert 15 < int(flipped) < 49


@pytest.mark.parametrize("kept", [(False, False), (True, False), (False, True), (True, True)])
def test_an_axis_that_keeps_its_sides_is_never_mirrored(kept):
    # Rotation and shear are too small to turn an axis round, so a sign tells of a mirror image.
    matrices = _affine_matrices(
        torch.rand(200, 8, generator=torch.Generator().manual_seed(0)), kept
    )
    mirrored = [bool((matrices[:, axis, axis] < 0).any()) for axis in (0, 1)]
    assert mirrored == [not keeps for keeps in kept]
