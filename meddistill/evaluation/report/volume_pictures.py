"""A picture a volume: three planes through what is judged, truth and prediction drawn; and all volumes on
one sheet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from meddistill.data.findings import Colour, Findings
from meddistill.data.overlays import filled, outline, with_legend
from meddistill.data.pixels import caption, resize, shrink
from meddistill.data.tile_sheet import with_note
from meddistill.evaluation.baselines import STUDENT
from meddistill.evaluation.volumes import WholeVolume

TRUTH, PREDICTION = (80, 220, 120), (255, 221, 0)
"""RGB of the outlines where there is one finding; of several each has its own colour."""
_NOTES = {
    True: "Green: truth. Yellow: the student.",
    False: "Filled: truth. Outlined: the student.",
}
_LEAST_SIDE = 256
_MOST_ON_A_SHEET = 48
_FEW, _SIDE_OF_FEW, _SIDE_OF_MANY = 12, 256, 160
_COLUMNS_OF_FEW, _COLUMNS_OF_MANY = 4, 6
_GAP = 4


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A volume on the sheet: its name, the student's Dice, and uint8 (h, w, 3)."""

    name: str
    dice: float
    picture: np.ndarray


def three_planes(whole: WholeVolume, findings: Findings) -> np.ndarray:
    """The slice through the middle of what is judged and the two planes across it, side by side, in their
    true proportions where the spacing is known: uint8 (H, W, 3), with a legend."""
    truth, pred = _judged(whole)
    spacing = whole.spacing_mm or (1.0, 1.0, 1.0)
    centre = _centre_of(truth, pred)
    finest = min(spacing)
    panels = []
    for axis in range(3):
        image = np.take(whole.images, centre[axis], axis=axis)
        masks = [np.take(each, centre[axis], axis=axis + 1) for each in (truth, pred)]
        sides = [side for other, side in enumerate(spacing) if other != axis]
        if axis:  # the head of the body at the top
            image, masks = image[::-1], [mask[:, ::-1] for mask in masks]
        scale = (sides[0] / finest, sides[1] / finest)
        panels.append(_drawn(image, masks, scale, _colours(whole, findings)))
    return _explained(_beside(panels), findings, whole.places)


def thumbnail(whole: WholeVolume, findings: Findings, dice: float) -> Thumbnail:
    """The first of the three planes, at most 256 px a side."""
    truth, pred = _judged(whole)
    number = _centre_of(truth, pred)[0]
    masks = [truth[:, number], pred[:, number]]
    picture = _drawn(whole.images[number], masks, (1.0, 1.0), _colours(whole, findings))
    return Thumbnail(whole.case.volume, dice, _at_most(picture, _SIDE_OF_FEW))


def worst(thumbnails: Sequence[Thumbnail]) -> list[Thumbnail]:
    """As many as a sheet holds, those of the lowest Dice first."""
    return sorted(thumbnails, key=lambda each: each.dice)[:_MOST_ON_A_SHEET]


def sheet(
    thumbnails: Sequence[Thumbnail], findings: Findings, places: Sequence[int]
) -> np.ndarray | None:
    """The `worst` with name and Dice, and a legend that names the findings at `places`: uint8 (H, W, 3);
    None for none."""
    chosen = worst(thumbnails)
    if not chosen:
        return None
    few = len(chosen) <= _FEW
    side, columns = (_SIDE_OF_FEW, _COLUMNS_OF_FEW) if few else (_SIDE_OF_MANY, _COLUMNS_OF_MANY)
    tiles = []
    for each in chosen:
        small = _at_most(each.picture, side)
        tile = np.full((small.shape[0], side, 3), 255, np.uint8)
        tile[:, : small.shape[1]] = small
        tiles.append(caption(tile, f"{each.name} {each.dice:.2f}"))
    rows = [_beside(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    width = max(row.shape[1] for row in rows)
    gap = np.full((_GAP, width, 3), 255, np.uint8)
    parts = []
    for row in rows:
        line = np.full((row.shape[0], width, 3), 255, np.uint8)
        line[:, : row.shape[1]] = row
        parts += [line, gap]
    return _explained(np.concatenate(parts[:-1]), findings, places)


def _explained(picture: np.ndarray, findings: Findings, places: Sequence[int]) -> np.ndarray:
    return with_note(with_legend(picture, findings, places), _NOTES[findings.is_one])


def _colours(whole: WholeVolume, findings: Findings) -> Sequence[Colour]:
    """Of the judged findings; none where there is one finding."""
    return () if findings.is_one else [findings.colours[place] for place in whole.places]


def _judged(whole: WholeVolume) -> tuple[np.ndarray, np.ndarray]:
    """What there is and what the student says of the findings that are judged, bool (C, slices, H, W)."""
    places = list(whole.places)
    return whole.truth[places], whole.masks[STUDENT][places]


def _at_most(picture: np.ndarray, side: int) -> np.ndarray:
    small = shrink(picture.astype(np.float32), side)
    return np.clip(small.round(), 0, 255).astype(np.uint8)


def _centre_of(truth: np.ndarray, pred: np.ndarray) -> tuple[int, int, int]:
    return _centre(np.asarray((truth if truth.any() else pred).any(axis=0)))


def _centre(mask: np.ndarray) -> tuple[int, int, int]:
    """The voxel of the mask that is nearest to its middle; of an empty one the volume's middle."""
    if not mask.any():
        x, y, z = (length // 2 for length in mask.shape)
        return x, y, z
    voxels = np.argwhere(mask)
    nearest = voxels[np.square(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()]
    x, y, z = (int(place) for place in nearest)
    return x, y, z


def _drawn(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    scale: tuple[float, float],
    colours: Sequence[Colour],
) -> np.ndarray:
    """A grey plane, enlarged so that what is drawn does not hide it, uint8 (H, W, 3).

    Args:
        image: uint8 (h, w).
        masks: truth and prediction, bool (C, h, w) each.
        scale: by how much a row and a column are longer than the finest side.
        colours: of several findings; none: the two are outlined in colours of their own.
    """
    height, width = (length * side for length, side in zip(image.shape, scale, strict=True))
    larger = max(1.0, _LEAST_SIDE / max(height, width))
    size_hw = max(1, round(height * larger)), max(1, round(width * larger))
    picture = np.repeat(resize(image, size_hw)[..., None], 3, axis=2)
    truth, pred = (
        [resize(plane.astype(np.uint8) * 255, size_hw) > 127 for plane in planes]
        for planes in masks
    )
    if not colours:
        for large, colour in zip((*truth, *pred), (TRUTH, PREDICTION), strict=True):
            picture[outline(large)] = colour
        return picture
    for large, colour in zip(truth, colours, strict=True):
        picture = filled(picture, large, colour)
    for large, colour in zip(pred, colours, strict=True):
        picture[outline(large)] = colour
    return picture


def _beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    height = max(panel.shape[0] for panel in panels)
    parts = []
    for panel in panels:
        column = np.full((height, panel.shape[1], 3), 255, np.uint8)
        column[: panel.shape[0]] = panel
        parts += [column, np.full((height, _GAP, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)
