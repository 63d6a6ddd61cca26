"""Boxes that were drawn on another copy of a picture: refused, or scaled where the user says so."""

from __future__ import annotations

import dataclasses

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.annotations import AnnotatedImage, AnnotatedObject

AUTO = "auto"
_SAME_SHAPE = 0.02
"""Sizes are of one shape where their ratios of sides differ by at most this share."""


def parse_fit(text: str) -> str | float:
    """`auto`, a factor, or '' for none. Raises: ConfigError."""
    if text in ("", AUTO):
        return text
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1000:
        raise ConfigError(f"fit_boxes is '{text}'; expected auto, or a factor such as 0.5")
    return factor


def fitted(
    said: AnnotatedImage, size_hw: tuple[int, int] | None, fit: str | float
) -> tuple[AnnotatedImage, str]:
    """The image's objects in px of the picture of `size_hw` (None where that is not known), and what
    was done to them, '' for nothing. `fit` is a factor, or `auto`: by the size that the file states.

    Raises: InputError for a picture of another size than the file states, unless it may be fitted.
    """
    if isinstance(fit, float):
        return _scaled(said, (fit, fit), None), f"boxes are scaled by {fit:g}"
    if said.size_hw is None or size_hw is None or not said.objects or said.size_hw == size_hw:
        return said, ""
    if min(said.size_hw) < 1:  # states no size
        return said, ""
    (old_height, old_width), (height, width) = said.size_hw, size_hw
    scales = width / old_width, height / old_height
    is_copy = abs(scales[0] / scales[1] - 1) <= _SAME_SHAPE
    sizes = f"{old_width}x{old_height}", f"{width}x{height}"
    if is_copy and fit == AUTO:
        return _scaled(said, scales, size_hw), f"boxes are scaled from {sizes[0]} to {sizes[1]} px"
    how = "turned" if said.size_hw == (width, height) else "resized"
    offer = f"; --fit-boxes auto scales them by {scales[0]:.4g}" if is_copy else ""
    raise InputError(
        f"its boxes are for a picture of {sizes[0]} px, it has {sizes[1]}: it was {how} since, and "
        f"they would lie elsewhere{offer}"
    )


def _scaled(
    said: AnnotatedImage, scales_xy: tuple[float, float], size_hw: tuple[int, int] | None
) -> AnnotatedImage:
    objects = []
    for each in said.objects:
        x1, y1, x2, y2 = (
            round(value * scales_xy[place % 2], 3) for place, value in enumerate(each.box_xyxy_px)
        )
        polygons = tuple(
            tuple(value * scales_xy[place % 2] for place, value in enumerate(points))
            for points in each.polygons_xy_px
        )
        objects.append(AnnotatedObject(each.class_name, (x1, y1, x2, y2), polygons))
    return dataclasses.replace(said, objects=tuple(objects), size_hw=size_hw)
