"""What detection sets have in common: an image with objects, each with a class and a box."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from meddistill.base.errors import InputError
from meddistill.data.sources.source import SourceOptions


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One object of an image: class, box in px (half-open), and its shape where the set has one."""

    class_name: str
    box_xyxy_px: tuple[float, float, float, float]
    polygons_xy_px: tuple[tuple[float, ...], ...] = ()
    run_lengths: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.box_xyxy_px):
            raise InputError("a box has a coordinate that is not finite")

    @property
    def area(self) -> float:
        x1, y1, x2, y2 = self.box_xyxy_px
        return max(0.0, x2 - x1) * max(0.0, y2 - y1)

    @property
    def has_shape(self) -> bool:
        return bool(self.polygons_xy_px) or self.run_lengths is not None


def wanted(annotations: Iterable[Annotation], options: SourceOptions) -> list[Annotation]:
    """The annotations of the classes that were asked for; all where none were."""
    return [
        each for each in annotations if not options.classes or each.class_name in options.classes
    ]


def main_class(annotations: Sequence[Annotation]) -> str:
    """The class of the largest box; '' where there is none."""
    return (
        max(annotations, key=lambda each: (each.area, each.class_name)).class_name
        if annotations
        else ""
    )
