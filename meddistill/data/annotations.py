"""What annotation files say, whatever tool wrote them: images, and the objects that people marked in
them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.base.paths import printable
from meddistill.data.boxes import box_iou

NOTHING_THERE = "nothing there"
"""What we write where a tool can only mark an image: somebody looked and found nothing."""
_NOTHING_MARKS = {NOTHING_THERE, "nothing", "none", "no finding", "no lesion", "normal", "negative"}
_NOTHING_MARKS |= {"healthy", "no tumor", "no tumour"}

_SAME_OBJECT_IOU = 0.5
"""From this overlap on, boxes of two people mean the same object."""


@dataclasses.dataclass(frozen=True, slots=True)
class AnnotatedObject:
    """One object of an image: class, box in px (half-open), and its shape where the file has one."""

    class_name: str
    box_xyxy_px: tuple[float, float, float, float]
    polygons_xy_px: tuple[tuple[float, ...], ...] = ()
    run_lengths: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(sum(self.box_xyxy_px)):
            raise InputError("a box has a coordinate that is not finite")
        if not self.class_name.isprintable():  # names go to terminals and pages
            object.__setattr__(self, "class_name", printable(self.class_name))

    @property
    def area(self) -> float:
        x1, y1, x2, y2 = self.box_xyxy_px
        return max(0.0, x2 - x1) * max(0.0, y2 - y1)

    @property
    def has_shape(self) -> bool:
        return bool(self.polygons_xy_px) or self.run_lengths is not None

    @property
    def is_rectangle(self) -> bool:
        """Whether its shape is a box, upright or turned, that is written as a polygon."""
        return (
            self.run_lengths is None
            and len(self.polygons_xy_px) == 1
            and _is_rectangle(self.polygons_xy_px[0])
        )


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """What a file says of one image.

    `image`: its name as the tool wrote it, often the end of a path; empty where the file belongs to
    one image by its own name. `looked_at`: somebody did, so that no `objects` means no lesion;
    False means that nobody knows. `size_hw`: as the file states it. `empty_mask`: where no object
    is left, the mask is known to be empty (else there is none). `annotator`: who says so, where the
    file tells. `columns`: other facts of the image, such as `split`. `problem`: why it cannot be
    used. `looked_for`: the classes that somebody looked for; None: all that the file knows.
    `from_one`: whether corners were taken to count pixels from 1, where a format leaves that open.
    """

    image: str = ""
    objects: tuple[AnnotatedObject, ...] = ()
    looked_at: bool = True
    size_hw: tuple[int, int] | None = None
    empty_mask: bool = False
    group: str = ""
    annotator: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    problem: str = ""
    looked_for: tuple[str, ...] | None = None
    from_one: bool | None = None

    def __post_init__(self) -> None:
        told = {name: printable(text) for name, text in self.columns.items()}
        for name, text in (("group", printable(self.group)), ("columns", told)):
            object.__setattr__(self, name, text)


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """One file, read: its images in their order, the names of the classes that it knows, and what a
    person should know of how it was read: `notes`, such as "turned boxes are taken by the box around
    them", with how many there are. `beside`: other files that were read for it."""

    images: tuple[AnnotatedImage, ...]
    classes: tuple[str, ...] = ()
    notes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    beside: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(printable(name) for name in self.classes))


def counted_from_zero(said: AnnotatedImage) -> AnnotatedImage:
    """The image with corners that were moved for counting from 1 moved back."""
    objects = []
    for each in said.objects:
        x1, y1, x2, y2 = each.box_xyxy_px
        moved = (
            each
            if each.has_shape
            else dataclasses.replace(each, box_xyxy_px=(x1 + 1, y1 + 1, x2, y2))
        )
        objects.append(moved)
    return dataclasses.replace(said, objects=tuple(objects), from_one=False)


def is_nothing_there(mark: str) -> bool:
    """Whether a tag of a whole image says that somebody looked and found nothing."""
    return mark.strip().lower().replace("_", " ").replace("-", " ") in _NOTHING_MARKS


def classes_of(images: Sequence[AnnotatedImage]) -> tuple[str, ...]:
    """The names of the classes of all objects, sorted."""
    return tuple(sorted({each.class_name for image in images for each in image.objects} - {""}))


def _is_rectangle(points_xy: Sequence[float]) -> bool:
    """Whether a polygon has four corners, whose diagonals are equally long and halve each other."""
    corners = np.array(points_xy, dtype=np.float64).reshape(-1, 2)
    if len(corners) == 5 and (corners[0] == corners[4]).all():
        corners = corners[:4]
    if len(corners) != 4:
        return False
    diagonals = corners[2] - corners[0], corners[3] - corners[1]
    lengths = [float(np.hypot(*each)) for each in diagonals]
    apart = float(np.hypot(*(corners[0] + corners[2] - corners[1] - corners[3]))) / 2
    slack = min(1.0, 0.02 * max(lengths))  # rounding
    return apart <= slack and abs(lengths[0] - lengths[1]) <= slack


def polygon_box(points_xy: Sequence[float]) -> tuple[float, float, float, float]:
    """The box x1, y1, x2, y2 around a polygon x, y, x, y, ..."""
    return min(points_xy[0::2]), min(points_xy[1::2]), max(points_xy[0::2]), max(points_xy[1::2])


def turned_box(
    box_xyxy: Sequence[float], degrees: float, pivot_xy: tuple[float, float]
) -> tuple[float, ...]:
    """The corners x, y, ... (8 numbers) of a box that is turned clockwise on the screen about a
    point."""
    x1, y1, x2, y2 = box_xyxy
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = []
    for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)):
        dx, dy = x - pivot_xy[0], y - pivot_xy[1]
        corners += [pivot_xy[0] + dx * cos - dy * sin, pivot_xy[1] + dx * sin + dy * cos]
    return tuple(corners)


def ellipse_points(
    centre_xy: tuple[float, float], radii_xy: tuple[float, float], degrees: float = 0.0
) -> tuple[float, ...]:
    """A polygon x, y, ... of 64 points on an ellipse, turned clockwise on the screen; its extremes
    along both axes are among them."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rx, ry = radii_xy
    angles = [2 * math.pi * step / 60 for step in range(60)]
    # Where the turned ellipse reaches farthest to the right and down, and opposite.
    right, down = math.atan2(-ry * sin, rx * cos), math.atan2(ry * cos, rx * sin)
    angles = sorted(
        [*angles, *((a + half) % (2 * math.pi) for a in (right, down) for half in (0, math.pi))]
    )
    points = []
    for angle in angles:
        dx, dy = rx * math.cos(angle), ry * math.sin(angle)
        points += [centre_xy[0] + dx * cos - dy * sin, centre_xy[1] + dx * sin + dy * cos]
    return tuple(points)


def agree(readings: Sequence[AnnotatedImage], rule: str) -> AnnotatedImage:
    """What several people say of one image, by `rule`.

    `first`: the first of them. `union`: every object that anybody marked; those of one class that
    overlap by an IoU of at least .5 are one, with the box around them. `intersection`: objects that
    everybody marked, with the part of the box that all share. Somebody who found nothing has looked.
    """
    looked = [said for said in readings if said.looked_at]
    if not looked:
        return readings[0]
    if rule == "first" or len(looked) == 1:
        return looked[0]
    merged: list[AnnotatedObject] = list(looked[0].objects)
    for said in looked[1:]:
        merged = _merge(merged, said.objects, rule)
    return dataclasses.replace(looked[0], objects=tuple(merged), annotator="")


def _merge(
    first: Sequence[AnnotatedObject], second: Sequence[AnnotatedObject], rule: str
) -> list[AnnotatedObject]:
    left, merged = list(second), []
    for mine in first:
        pairs = [(_iou(mine, each), index) for index, each in enumerate(left)]
        best, index = max(pairs, default=(0.0, -1))
        if best < _SAME_OBJECT_IOU:
            merged += [mine] if rule == "union" else []
            continue
        a, b = mine.box_xyxy_px, left.pop(index).box_xyxy_px
        near, far = (min, max) if rule == "union" else (max, min)
        box = near(a[0], b[0]), near(a[1], b[1]), far(a[2], b[2]), far(a[3], b[3])
        merged.append(AnnotatedObject(mine.class_name, box))
    return [*merged, *left] if rule == "union" else merged


def _iou(a: AnnotatedObject, b: AnnotatedObject) -> float:
    if a.class_name != b.class_name:
        return 0.0
    return float(box_iou(np.array(a.box_xyxy_px), np.array(b.box_xyxy_px))[0, 0])
