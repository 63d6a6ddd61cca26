"""Pictures of a mask on its image, in the paper's style: filled in yellow, outlined in dark red,
truth beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from meddistill.data.findings import Colour, Findings, as_planes
from meddistill.data.formats.pictures import lettering

YELLOW = (255, 221, 0)
DARK_RED = (139, 0, 0)
FILL_SHARE = 0.4
GAP_PX = 4
_LINE_PX = 18
"""Height of a legend's line below a picture of up to 1024 px; of larger ones in proportion."""


def overlay(
    image: np.ndarray, mask: np.ndarray, colours: Sequence[Colour] = (YELLOW,)
) -> np.ndarray:
    """The image with one mask filled in translucent yellow and outlined in dark red; of several
    each in a colour of its own, inside and out.

    Shape: uint8 (H, W, 3) and bool (H, W) or (C, H, W) to uint8 (H, W, 3). An empty mask gives the
    image itself.
    """
    picture = image.astype(np.float32)
    for plane, colour in zip(as_planes(mask), colours, strict=True):
        _fill(picture, plane, colour)
        picture[outline(plane)] = DARK_RED if len(colours) == 1 else colour
    return picture.round().astype(np.uint8)


def filled(image: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """The image, uint8 (H, W, 3), with a mask, bool (H, W), filled in a translucent colour."""
    picture = image.astype(np.float32)
    _fill(picture, mask, colour)
    return picture.round().astype(np.uint8)


def _fill(picture: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
    picture[mask] += FILL_SHARE * (np.array(colour, dtype=np.float32) - picture[mask])


def side_by_side(
    image: np.ndarray,
    pred: np.ndarray,
    target: np.ndarray | None,
    colours: Sequence[Colour] = (YELLOW,),
) -> np.ndarray:
    """Prediction on the left, truth on the right, a white gap between: uint8 (H, 2 W + gap, 3).

    Without a truth the plain image stands on the right. Arguments as those of `overlay`.
    """
    right = image if target is None else overlay(image, target, colours)
    gap = np.full((image.shape[0], GAP_PX, 3), 255, dtype=np.uint8)
    return np.concatenate([overlay(image, pred, colours), gap, right], axis=1)


def with_legend(picture: np.ndarray, findings: Findings, places: Sequence[int]) -> np.ndarray:
    """The picture, uint8 (H, W, 3), with the names of some findings below it, each behind a square
    in its colour; as it is where there is one finding, or no place."""
    if findings.is_one or not places:
        return picture
    line_px = max(_LINE_PX, round(max(picture.shape) / 1024 * _LINE_PX))
    lines = [_blank(line_px, picture.shape[1])]
    left = line_px // 3
    for place in places:
        entry = _legend_entry(findings.names[place], findings.colours[place], line_px)
        if left + entry.shape[1] > picture.shape[1] and left > line_px // 3:
            lines.append(_blank(line_px, picture.shape[1]))
            left = line_px // 3
        right = min(left + entry.shape[1], picture.shape[1])
        lines[-1][:, left:right] = entry[:, : right - left]
        left = right + line_px // 2
    return np.concatenate([picture, *lines])


def _legend_entry(name: str, colour: Colour, line_px: int) -> np.ndarray:
    ink = lettering(name, line_px)[..., None].astype(np.float32) / 255
    text = (255 * (1 - ink)).round().astype(np.uint8).repeat(3, axis=2)
    square = _blank(line_px, line_px)
    edge = line_px // 4
    square[edge : line_px - edge, edge : line_px - edge] = colour
    return np.concatenate([square, text], axis=1)


def _blank(height_px: int, width_px: int) -> np.ndarray:
    return np.full((height_px, width_px, 3), 255, dtype=np.uint8)


def outline(mask: np.ndarray) -> np.ndarray:
    """bool (H, W): the mask's inner rim, 1 px wide for each 256 px of the longest side (at least
    1)."""
    if not mask.any():
        return mask.copy()
    width_px = max(1, round(max(mask.shape) / 256))
    # Border 1: a mask cut by the image's edge has no outline there.
    return np.asarray(mask & ~ndimage.binary_erosion(mask, iterations=width_px, border_value=1))
