"""Regions of Label Studio, as tasks and JSON-MIN hold them: what they mark, in px of their image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.annotations import AnnotatedObject, ellipse_points, polygon_box, turned_box
from meddistill.data.formats.label_studio_brush import decode_bitmask, decode_brush
from meddistill.data.formats.shapes import run_lengths_of

_LABELS = (
    *("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "bitmasklabels"),
    *("keypointlabels", "vectorlabels", "labels"),
)
PLACES = ("x", "points", "rle", "imageDataURL", "vertices")
"""What the value of a region has that lies somewhere in the image; others speak of the whole of it."""
SizeOf = Callable[[str], tuple[int, int] | None]
"""Height and width of an image by its name; None where it is not here."""


def lies_somewhere(region: Mapping[str, Any]) -> bool:
    """Whether a region marks a place and does not speak of the whole image. Raises: InputError for one
    whose value is none."""
    value = region.get("value", {})
    if not isinstance(value, dict):
        raise InputError("a region is damaged")
    return any(key in value for key in PLACES)


def objects_of(
    regions: Sequence[Mapping[str, Any]],
    name: str,
    said: Counter[str],
    without_area: Counter[str],
    size_of: SizeOf,
) -> tuple[tuple[AnnotatedObject, ...], tuple[int, int] | None]:
    """What an image's regions mark, with the image's size (None where none marks a place).

    Args:
        regions: of one annotation.
        name: of the image.
        said: counts what a person should know.
        without_area: counts what marks a place but no area, by kind.
        size_of: of an image whose regions state none.

    Raises: one of `DAMAGED` for a region that is damaged, or whose image's size is not known.
    """
    # A region and its labels may be two records of one id.
    labels = {each.get("id"): _label(each) for each in regions if _label(each)}
    objects: dict[Any, AnnotatedObject] = {}
    size_hw = None
    for number, region in enumerate(regions):
        found = None
        if lies_somewhere(region):
            size_hw = _stated_size(region) or size_hw or size_of(name)
            if size_hw is None:
                raise InputError("a region states no size of its image, which is not here")
            label = _label(region) or labels.get(region.get("id"), "")
            found = _object(region["value"], label, size_hw, said)
            if found is None:
                without_area[str(region.get("type") or label or "unknown")] += 1
        if found is not None:
            objects.setdefault(region.get("id", number), found)
    return tuple(objects.values()), size_hw


def _stated_size(region: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = region.get("original_width"), region.get("original_height")
    return (int(height), int(width)) if width and height else None


def _label(region: Mapping[str, Any]) -> str:
    value = region.get("value")
    if not isinstance(value, dict):
        return ""
    return next((str(value[key][0]) for key in _LABELS if value.get(key)), "")


def _object(
    value: Mapping[str, Any], label: str, size_hw: tuple[int, int], said: Counter[str]
) -> AnnotatedObject | None:
    """The object of a region, in percent of the image's width and height; None for one without an
    area."""
    height, width = size_hw
    degrees = float(value.get("rotation") or 0)
    if "rle" in value:
        return _drawn(decode_brush(value["rle"], size_hw), label)
    if "imageDataURL" in value:
        return _drawn(decode_bitmask(value["imageDataURL"], size_hw), label)
    if "points" in value:
        points = tuple(_in_px(value["points"], size_hw))
        if len(points) < 6:
            raise InputError("a polygon has fewer than three points")
        return AnnotatedObject(label, polygon_box(points), (points,))
    if "x" not in value or not ("height" in value or "radiusX" in value):
        return None  # a key point has a width alone
    x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
    if "radiusX" in value:
        radii = float(value["radiusX"]) * width / 100, float(value["radiusY"]) * height / 100
        points = ellipse_points((x, y), radii, degrees)
        return AnnotatedObject(label, polygon_box(points), (points,))
    box = (
        x,
        y,
        x + float(value["width"]) * width / 100,
        y + float(value["height"]) * height / 100,
    )
    if not degrees:
        return AnnotatedObject(label, box)
    said["turned boxes are taken by the box around them"] += 1
    return AnnotatedObject(label, polygon_box(turned_box(box, degrees, (x, y))))  # its first corner


def _in_px(points: Iterable[Sequence[Any]], size_hw: tuple[int, int]) -> Iterable[float]:
    for x, y in points:
        yield float(x) * size_hw[1] / 100
        yield float(y) * size_hw[0] / 100


def _drawn(mask: np.ndarray, label: str) -> AnnotatedObject:
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise InputError("a brush stroke is empty")
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    x1, y1, x2, y2 = (float(number) for number in box)
    return AnnotatedObject(label, (x1, y1, x2, y2), run_lengths=run_lengths_of(mask))
