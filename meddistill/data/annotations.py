"""What annotation files say, whatever tool wrote them: images, and the objects that people marked in
them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from meddistill.base.errors import InputError


@dataclasses.dataclass(frozen=True)
class AnnotatedObject:
    """One object of an image: class, box in px (half-open), and its shape where the file has one."""

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


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """What a file says of one image.

    `image`: its name as the tool wrote it, often the end of a path; empty where the file belongs to
    one image by its own name. `looked_at`: somebody did, so that no `objects` means no lesion;
    False means that nobody knows. `size_hw`: as the file states it. `empty_mask`: where no object
    is left, the mask is known to be empty (else there is none). `problem`: why it cannot be used.
    """

    image: str = ""
    objects: tuple[AnnotatedObject, ...] = ()
    looked_at: bool = True
    size_hw: tuple[int, int] | None = None
    empty_mask: bool = False
    group: str = ""
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """One file, read: its images in their order, and the names of the classes that it knows."""

    images: tuple[AnnotatedImage, ...]
    classes: tuple[str, ...] = ()


def polygon_box(points_xy: Sequence[float]) -> tuple[float, float, float, float]:
    """The box x1, y1, x2, y2 around a polygon x, y, x, y, ..."""
    return min(points_xy[0::2]), min(points_xy[1::2]), max(points_xy[0::2]), max(points_xy[1::2])
