"""Large images cut into tiles of the student's frame at their own resolution, and put together
again. Imports no torch, so that any student can be asked through it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

OVERLAP = 0.25
"""Share of a tile's side that it has in common with its neighbour, at least."""
_SIGMA = 1 / 8
"""Deviation of a tile's weights, in sides. Source: Isensee et al., "nnU-Net", Nature Methods 2021,
whose sliding window trusts the middle of a patch more than its border in this way."""
_LEAST_WEIGHT = 1e-3

See = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
"""What a student makes of tiles, uint8 (S, S, 3): of each its probabilities, float32 (C, S, S)."""


def tile_corners(size_hw: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """Top and left of the tiles that cover an image, evenly spaced, at least `OVERLAP` of a side in
    common; one at (0, 0) along a side that is no longer than a tile."""
    tops, lefts = (_starts(length, side) for length in size_hw)
    return [(top, left) for top in tops for left in lefts]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    steps = -(-(length - side) // max(1, round(side * (1 - OVERLAP))))
    return [round(step * (length - side) / steps) for step in range(steps + 1)]


def cut_tile(pixels: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
    """A tile of an image or map (H, W, ...): (side, side, ...), 0 beyond the border."""
    top, left = corner
    found = pixels[max(top, 0) : top + side, max(left, 0) : left + side]
    tile = np.zeros((side, side, *pixels.shape[2:]), pixels.dtype)
    y, x = max(-top, 0), max(-left, 0)
    tile[y : y + found.shape[0], x : x + found.shape[1]] = found
    return tile


def see_in_tiles(image: np.ndarray, side: int, see: See, batch_size: int = 16) -> np.ndarray:
    """Probabilities of a whole image, float32 (C, H, W) in [0, 1]: the mean over its tiles, those
    near a tile's middle counting most. Memory: two maps of the image's size a finding, and a batch
    of tiles.

    Args:
        image: uint8 (H, W, 3).
        side: of a tile, px.
        see: the student.
        batch_size: tiles at a time.
    """
    height, width = image.shape[:2]
    corners = tile_corners((height, width), side)
    weights = _weights(side)
    sums: np.ndarray | None = None
    total = np.zeros((height, width), np.float32)
    for start in range(0, len(corners), batch_size):
        batch = corners[start : start + batch_size]
        for (top, left), probs in zip(
            batch, see([cut_tile(image, corner, side) for corner in batch]), strict=True
        ):
            if sums is None:
                sums = np.zeros((len(probs), height, width), np.float32)
            rows, columns = min(side, height - top), min(side, width - left)
            place = np.s_[top : top + rows, left : left + columns]
            kept = weights[:rows, :columns]
            sums[:, place[0], place[1]] += probs[:, :rows, :columns] * kept
            total[place] += kept
    assert sums is not None  # an image has at least one tile
    return np.clip(sums / total, 0, 1)


@functools.cache
def _weights(side: int) -> np.ndarray:
    """(side, side) float32 in (0, 1], largest in the middle."""
    away = (np.arange(side) + 0.5) / side - 0.5
    falls = np.exp(-0.5 * (away / _SIGMA) ** 2)
    weights = np.maximum(falls[:, None] * falls[None], _LEAST_WEIGHT).astype(np.float32)
    weights.flags.writeable = False
    return weights
