"""The outline of a mask as polygons, which label tools can bend."""

from __future__ import annotations

import numpy as np
from skimage.measure import find_contours

from meddistill.data.annotations import AnnotatedObject
from meddistill.data.formats.shapes import run_lengths_of


def outlines(mask: np.ndarray) -> tuple[tuple[tuple[float, ...], ...], bool]:
    """Polygons x, y, ... in px around the parts of a bool mask (H, W), and whether any part has a
    hole (which polygons fill). An empty mask gives none.

    A polygon runs half-way between the centres of inner and outer pixels: the centres inside it are
    the mask's, and the box around it is the mask's own.
    """
    padded = np.pad(mask, 1).astype(np.float32)
    polygons = []
    has_hole = False
    for line in find_contours(padded, 0.5, fully_connected="high"):
        points = _corners(line[:-1])
        x, y = points[:, 1] - 0.5, points[:, 0] - 0.5  # of the padding, and pixel centres at .5
        # Twice the signed area: which way round it runs tells an outline from a hole.
        if float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) > 0:
            polygons.append(tuple(float(value) for value in np.stack([x, y], axis=1).ravel()))
        else:
            has_hole = True
    return tuple(polygons), has_hole


def _corners(points: np.ndarray) -> np.ndarray:
    """The points (N, 2) at which a closed line turns."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-6
    return points[turns]


def object_with_mask(
    class_name: str, box_xyxy_px: tuple[float, float, float, float], mask: np.ndarray
) -> AnnotatedObject:
    """An object with the part of a bool mask (H, W) that lies in its box; without a shape where
    there is none."""
    x1, y1, x2, y2 = box_xyxy_px
    part = np.zeros_like(mask)
    rows = slice(max(0, int(np.floor(y1))), int(np.ceil(y2)))
    columns = slice(max(0, int(np.floor(x1))), int(np.ceil(x2)))
    part[rows, columns] = mask[rows, columns]
    if not part.any():
        return AnnotatedObject(class_name, box_xyxy_px)
    polygons, has_hole = outlines(part)
    return AnnotatedObject(
        class_name, box_xyxy_px, polygons, run_lengths_of(part) if has_hole else None
    )
