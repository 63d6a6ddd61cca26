"""What the study of the ceiling tries in training that is no setting. No study of its own.

What wins becomes one; what does not stays here, with its row in the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.training import augment, loop
from meddistill.training.augment import Augmentation
from meddistill.training.batches import Draw, ShuffledCases
from meddistill.training.packed_cases import Batch, PackedCases

STRONGER = {
    "MAX_ROTATION_DEG": 45.0,
    "MAX_SCALE": 1.6,
    "MAX_SHIFT": 0.2,
    "MAX_STRETCH": 1.3,
    "MAX_GAMMA": 2.0,
    "MAX_CONTRAST": 1.6,
    "MAX_BIAS": 0.5,
    "MAX_NOISE": 0.1,
}
"""What views undergo at most, in place of the constants of `training/augment.py`."""
CROP_SHARE, SMALLEST_CROP = 0.5, 0.4
_BIN = 4.0
"""Lesions whose areas differ by no more than this factor are of one size."""


class Crops(Augmentation):
    """Half of the views (not those whose features are used) show a window around the lesion, as large
    as the frame; its side is 0.4 to 1 of the frame's, its middle off the lesion's by chance."""

    def __call__(self, batch: Batch, cached_view: Tensor, numbers: Tensor) -> Batch:
        # The sixteen numbers of a view are used up; their further digits are as random.
        share, size, *off = ((numbers * 1009) % 1).unbind(1)[:4]
        mass = (batch.probs.sum(1) > 0.5).float()
        is_cut = (share < CROP_SHARE) & ~cached_view & mass.flatten(1).any(1)
        side = SMALLEST_CROP + (1 - SMALLEST_CROP) * size
        middle = _middle(mass) + (torch.stack(off, dim=1) - 0.5) * side[:, None]
        ends = (1 - side)[:, None]
        middle = middle.clamp(-ends, ends)
        zero = torch.zeros_like(side)
        matrices = torch.stack([side, zero, middle[:, 0], zero, side, middle[:, 1]], dim=1).view(
            -1, 2, 3
        )
        maps = [batch.images, batch.probs, batch.uncertainty]
        if batch.pixel_weight is not None:
            maps.append(batch.pixel_weight)
        cut = [
            torch.where(is_cut[:, None, None, None], _seen(each, matrices), each) for each in maps
        ]
        changed = dict(zip(("images", "probs", "uncertainty", "pixel_weight"), cut, strict=False))
        return super().__call__(dataclasses.replace(batch, **changed), cached_view, numbers)


def _middle(mass: Tensor) -> Tensor:
    """Centre of mass (B, 2), x and y from -1 to 1, of maps (B, S, S); 0 of an empty one."""
    places = (torch.arange(mass.shape[-1], device=mass.device) + 0.5) / mass.shape[-1] * 2 - 1
    total = mass.sum((1, 2)).clamp(min=1)
    x, y = (mass.sum(axis) @ places / total for axis in (1, 2))
    return torch.stack([x, y], dim=1)


def _seen(maps: Tensor, matrices: Tensor) -> Tensor:
    grid = F.affine_grid(matrices, list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class BalancedSizes(ShuffledCases):
    """As many draws an epoch, but each size of lesion (by factors of four in area) is drawn as often as
    any other, cases of one size alike."""

    def __init__(self, cases: PackedCases, *others: Any) -> None:
        super().__init__(cases, *others)
        self.weights = size_weights(lesion_areas(cases))

    def draws(self, epoch: int) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        count = len(self.cases)
        order = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        numbers = None
        if self.augment is not None:
            # A view of its own each time that a case is drawn.
            numbers = self.augment.numbers(epoch, count).to(self.cases.device)
        cached = self._cached_views(count).to(self.cases.device)
        draw = Draw(order.to(self.cases.device), cached, numbers)
        yield from draw.parts(self.steps_per_epoch)


def lesion_areas(cases: PackedCases) -> Tensor:
    """Pixels of each case's target above one half, (N,) float32 on the CPU."""
    batches = (cases.batch(part).probs for part in torch.arange(len(cases)).split(64))
    return torch.cat([(probs > 0.5).flatten(1).sum(1).float().cpu() for probs in batches])


def size_weights(areas: Tensor) -> Tensor:
    """How often each case is drawn, (N,): equal sums over the sizes that occur; no lesion is a size."""
    bins = (areas.clamp(min=1).log() / torch.tensor(_BIN).log()).floor().long() + (areas > 0)
    _, which, counts = bins.unique(return_inverse=True, return_counts=True)
    return 1.0 / counts[which].float()


@contextmanager
def tried(what: str) -> Iterator[None]:
    """Training with `stronger` views, `crops` or `balanced` sizes, as long as the block lasts; as ever
    with an empty name. Raises: KeyError for another."""
    changes: list[tuple[Any, str, Any]] = {
        "": [],
        "stronger": [(augment, name, value) for name, value in STRONGER.items()],
        "crops": [(loop, "Augmentation", Crops)],
        "balanced": [(loop, "ShuffledCases", BalancedSizes)],
    }[what]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    try:
        for module, name, value in changes:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
