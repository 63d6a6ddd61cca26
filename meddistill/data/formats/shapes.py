"""Masks that are drawn from polygons or run lengths instead of read from a file."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from skimage.draw import disk, polygon

from meddistill.base.errors import InputError
from meddistill.data.formats.picture_limits import MAX_PIXELS


@dataclasses.dataclass(frozen=True)
class Shapes:
    """The union of polygons (x, y, x, y, ... in px, pixel centres at .5) and run lengths (by
    column, first of 0s)."""

    size_hw: tuple[int, int]
    polygons_xy_px: tuple[tuple[float, ...], ...] = ()
    run_lengths: tuple[tuple[int, ...], ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    @property
    def token(self) -> str:
        return hashlib.sha256(
            repr((self.size_hw, self.polygons_xy_px, self.run_lengths)).encode()
        ).hexdigest()

    def load(self) -> np.ndarray:
        mask = np.zeros(self.size_hw, dtype=bool)
        for points in self.polygons_xy_px:
            x, y = np.array(points[0::2]) - 0.5, np.array(points[1::2]) - 0.5
            mask[polygon(y, x, self.size_hw)] = True
        for counts in self.run_lengths:
            mask |= decode_run_lengths(counts, self.size_hw)
        return mask


def stroke(size_hw: tuple[int, int], points_xy_px: np.ndarray, width_px: float) -> np.ndarray:
    """bool (H, W): what a round brush of this width touches on its way along points (N, 2) px, N >=
    1; pixel centres at .5. A brush narrower than a pixel touches the pixels of its points."""
    mask = np.zeros(size_hw, dtype=bool)
    height, width = size_hw
    points = np.clip(points_xy_px, 0, (width, height)) - 0.5
    radius = max(width_px / 2, 0.5)
    for x, y in points:
        mask[disk((y, x), radius + 1e-3, shape=size_hw)] = True
        mask[min(height - 1, max(0, round(y))), min(width - 1, max(0, round(x)))] = True
    for start, end in itertools.pairwise(points):
        length = float(np.hypot(*(end - start)))
        if length:
            along = (end - start) / length * radius
            across = np.array([-along[1], along[0]])
            corners = np.array([start + across, end + across, end - across, start - across])
            mask[polygon(corners[:, 1], corners[:, 0], size_hw)] = True
    return mask


def check_pixels(size_hw: tuple[int, int]) -> None:
    """Raises: InputError for a size that no picture may have: nothing is drawn into it."""
    height, width = size_hw
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        raise InputError(f"a mask of {width}x{height} px is above {MAX_PIXELS:,} pixels, or empty")


def decode_run_lengths(counts: tuple[int, ...], size_hw: tuple[int, int]) -> np.ndarray:
    """bool (H, W) of COCO run lengths: column by column, lengths of 0s and 1s in turn. Raises:
    InputError."""
    height, width = size_hw
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise InputError(f"run lengths add up to {sum(counts)} pixels, expected {width}x{height}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def run_lengths_of(mask: np.ndarray) -> tuple[int, ...]:
    """COCO run lengths of a bool mask (H, W): column by column, first of 0s; an empty mask gives
    one run."""
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    ends = np.flatnonzero(np.diff(flat))
    return tuple(int(count) for count in np.diff(np.concatenate([[0], ends])))


def run_lengths_box(counts: Sequence[int], height: int) -> tuple[float, float, float, float]:
    """The box x1, y1, x2, y2 (half-open px) around what COCO run lengths set, for images of
    `height` rows. Raises: InputError where they set nothing."""
    total = sum(counts)
    if height < 1 or total % height:
        raise InputError(f"run lengths add up to {total} pixels, not to columns of {height}")
    check_pixels((height, total // height))
    rows, columns = np.nonzero(decode_run_lengths(tuple(counts), (height, total // height)))
    if not len(rows):
        raise InputError("an annotation's run lengths are empty")
    return (
        float(columns.min()),
        float(rows.min()),
        float(columns.max() + 1),
        float(rows.max() + 1),
    )


def parse_run_lengths(text: str) -> tuple[int, ...]:
    """Run lengths of COCO's compressed string (the format of cocoapi `maskApi.c`, rleFrString).
    Raises: InputError."""
    counts: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            if position >= len(text) or not 48 <= ord(text[position]) < 112 or shift > 60:
                raise InputError("run lengths are damaged")
            code = ord(text[position]) - 48
            value |= (code & 0x1F) << shift
            more = bool(code & 0x20)
            position += 1
            shift += 5
            if not more and code & 0x10:
                value |= -1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return tuple(counts)
