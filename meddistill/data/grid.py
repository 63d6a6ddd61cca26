"""One size of pixels for all images, in mm: what is as large in the body is as large in the student's
frame, whichever scanner it came from. Arrays alone."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from meddistill.base.errors import InputError

Spacing = tuple[float, float]
"""Size of a pixel (row, column) in mm."""

_SAME = 0.005
"""Relative difference below which a spacing counts as the grid's own, and pixels stay as they are."""
_LARGEST = 16384


@dataclasses.dataclass(frozen=True)
class Grid:
    """Pixels of `spacing_mm` on both sides, on a square of `side_px` that the largest training image
    fills: smaller ones are padded with 0 at the bottom and right, larger ones stay larger."""

    spacing_mm: float
    side_px: int

    def __post_init__(self) -> None:
        if not (0 < self.spacing_mm < math.inf and self.side_px > 0):
            raise ValueError(f"spacing_mm and side_px must be above 0, got {self}")

    def put(self, image: np.ndarray, spacing_hw_mm: Spacing) -> np.ndarray:
        """An image uint8 (H, W) or (H, W, C) on the grid: bilinear, averaged where it shrinks.

        Raises: InputError where its spacing cannot be meant.
        """
        return self._padded(resampled(image, self.spacing_mm, spacing_hw_mm))

    def put_masks(self, planes: np.ndarray, spacing_hw_mm: Spacing) -> np.ndarray:
        """Masks bool (C, H, W) on the grid: pixels of which more than half is inside. What excludes
        each other still does; what is empty stays so. Raises: as `put`."""
        content = np.moveaxis(planes, 0, 2).astype(np.float32)
        inside = resampled(content, self.spacing_mm, spacing_hw_mm) > 0.5
        return np.moveaxis(self._padded(inside), 2, 0)

    def back(
        self, probs: np.ndarray, size_hw: tuple[int, int], spacing_hw_mm: Spacing
    ) -> np.ndarray:
        """Probabilities float32 (H, W) or (C, H, W) of what `put` gave, on the image's own pixels."""
        height, width = resampled_hw(size_hw, self.spacing_mm, spacing_hw_mm)
        content = probs[..., :height, :width]
        if (height, width) == tuple(size_hw):
            return content
        down, across = _weights(height, size_hw[0]), _weights(width, size_hw[1])
        found: np.ndarray = down @ content @ across.T
        return np.clip(found, 0, 1)

    def _padded(self, image: np.ndarray) -> np.ndarray:
        missing = [(0, max(0, self.side_px - length)) for length in image.shape[:2]]
        return np.pad(image, missing + [(0, 0)] * (image.ndim - 2))


def resampled_hw(
    size_hw: tuple[int, int], spacing_mm: float, spacing_hw_mm: Spacing
) -> tuple[int, int]:
    """Height and width at `spacing_mm`; its own where that is its spacing, to half a percent.

    Raises: InputError where the spacing cannot be meant: no pixel, or too many, would be left.
    """
    found = tuple(
        length if abs(side / spacing_mm - 1) < _SAME else round(length * side / spacing_mm)
        for length, side in zip(size_hw, spacing_hw_mm, strict=True)
    )
    if not 1 <= min(found) <= max(found) <= _LARGEST:
        row, column = spacing_hw_mm
        raise InputError(
            f"its pixels of {row:g} x {column:g} mm would become {found[1]}x{found[0]} of "
            f"{spacing_mm:g} mm; correct its spacing"
        )
    return found[0], found[1]


def resampled(image: np.ndarray, spacing_mm: float, spacing_hw_mm: Spacing) -> np.ndarray:
    """(H, W) or (H, W, C) uint8 or float32 at `spacing_mm`, of the same dtype. Raises: as
    `resampled_hw`."""
    old = (image.shape[0], image.shape[1])
    new = resampled_hw(old, spacing_mm, spacing_hw_mm)
    if new == old:
        return image
    down, across = _weights(old[0], new[0]), _weights(old[1], new[1])
    channels = np.moveaxis(image.reshape(*old, -1), 2, 0).astype(np.float32)
    found = np.moveaxis(down @ channels @ across.T, 0, 2).reshape(*new, *image.shape[2:])
    if image.dtype == np.uint8:
        return np.clip(np.rint(found), 0, 255).astype(np.uint8)
    return found


@functools.lru_cache(maxsize=32)
def _weights(old: int, new: int) -> np.ndarray:
    """(new, old) float32, rows of sum 1: a triangle about each new pixel's middle, as wide as a pixel
    of the coarser of both; as `data/frames.py` does it with torch."""
    scale = old / new
    reach = max(1.0, scale)
    middles = (np.arange(new) + 0.5) * scale - 0.5
    away = np.abs(np.arange(old)[None] - middles[:, None]) / reach
    weights = np.maximum(0, 1 - away)
    weights /= weights.sum(axis=1, keepdims=True)
    found = weights.astype(np.float32)
    found.flags.writeable = False
    return found
