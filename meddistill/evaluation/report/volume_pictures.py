"""A picture a volume: three planes through the finding, truth and prediction outlined; and all volumes on
one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meddistill.data.overlays import outline
from meddistill.data.pixels import resize, shrink
from meddistill.evaluation.baselines import STUDENT
from meddistill.evaluation.volumes import WholeVolume

TRUTH, PREDICTION = (80, 220, 120), (255, 221, 0)
"""RGB of the outlines."""
_LEAST_SIDE = 256
_THUMBNAIL = 160
_MOST_ON_A_SHEET = 48
_COLUMNS = 6
_GAP = 4


def three_planes(whole: WholeVolume) -> np.ndarray:
    """The slice through the middle of the finding and the two planes across it, side by side, in their
    true proportions where the spacing is known: uint8 (H, W, 3). Outlines: truth green, the
    student's yellow."""
    truth, pred = _united(whole)
    spacing = whole.spacing_mm or (1.0, 1.0, 1.0)
    centre = _centre(truth if truth.any() else pred)
    finest = min(spacing)
    panels = []
    for axis in range(3):
        planes = [np.take(each, centre[axis], axis=axis) for each in (whole.images, truth, pred)]
        sides = [side for other, side in enumerate(spacing) if other != axis]
        if axis:  # the head of the body at the top
            planes = [plane[::-1] for plane in planes]
        panels.append(_drawn(planes, (sides[0] / finest, sides[1] / finest)))
    return _beside(panels)


def thumbnail(whole: WholeVolume) -> np.ndarray:
    """The first of the three planes, small: uint8 (h, w, 3)."""
    truth, pred = _united(whole)
    number = _centre(truth if truth.any() else pred)[0]
    picture = _drawn([whole.images[number], truth[number], pred[number]], (1.0, 1.0))
    small = shrink(picture.astype(np.float32), _THUMBNAIL)
    return np.clip(small.round(), 0, 255).astype(np.uint8)


def sheet(thumbnails: Sequence[tuple[float, np.ndarray]]) -> np.ndarray | None:
    """The volumes of the lowest Dice first, at most 48: uint8 (H, W, 3); None for none."""
    chosen = [picture for _, picture in sorted(thumbnails, key=lambda pair: pair[0])]
    chosen = chosen[:_MOST_ON_A_SHEET]
    if not chosen:
        return None
    rows = [_beside(chosen[start : start + _COLUMNS]) for start in range(0, len(chosen), _COLUMNS)]
    width = max(row.shape[1] for row in rows)
    gap = np.full((_GAP, width, 3), 255, np.uint8)
    parts = []
    for row in rows:
        filled = np.full((row.shape[0], width, 3), 255, np.uint8)
        filled[:, : row.shape[1]] = row
        parts += [filled, gap]
    return np.concatenate(parts[:-1])


def _united(whole: WholeVolume) -> tuple[np.ndarray, np.ndarray]:
    """What there is and what the student says, of all findings that are judged."""
    places = list(whole.places)
    both = whole.truth[places].any(axis=0), whole.masks[STUDENT][places].any(axis=0)
    return np.asarray(both[0]), np.asarray(both[1])


def _centre(mask: np.ndarray) -> tuple[int, int, int]:
    """The voxel of the mask that is nearest to its middle; of an empty one the volume's middle."""
    if not mask.any():
        x, y, z = (length // 2 for length in mask.shape)
        return x, y, z
    voxels = np.argwhere(mask)
    nearest = voxels[np.square(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()]
    x, y, z = (int(place) for place in nearest)
    return x, y, z


def _drawn(planes: Sequence[np.ndarray], scale: tuple[float, float]) -> np.ndarray:
    """A grey plane with the outlines of two masks, enlarged so that they do not hide it."""
    image, *masks = planes
    height, width = (length * side for length, side in zip(image.shape, scale, strict=True))
    larger = max(1.0, _LEAST_SIDE / max(height, width))
    size_hw = max(1, round(height * larger)), max(1, round(width * larger))
    picture = np.repeat(resize(image, size_hw)[..., None], 3, axis=2)
    for mask, colour in zip(masks, (TRUTH, PREDICTION), strict=True):
        large = resize(mask.astype(np.uint8) * 255, size_hw) > 127
        picture[outline(large)] = colour
    return picture


def _beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    height = max(panel.shape[0] for panel in panels)
    parts = []
    for panel in panels:
        filled = np.full((height, panel.shape[1], 3), 255, np.uint8)
        filled[: panel.shape[0]] = panel
        parts += [filled, np.full((height, _GAP, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)
