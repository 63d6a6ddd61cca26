"""labelme's JSON beside an image (also AnyLabeling's and X-AnyLabeling's): rectangles, polygons,
circles, masks."""

from __future__ import annotations

import base64
import binascii
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, InputError
from meddistill.base.files import write_json
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
    ellipse_points,
    polygon_box,
)
from meddistill.data.formats.annotation_format import (
    DAMAGED,
    NOTHING_BESIDE,
    KnownBeside,
    why_damaged,
)
from meddistill.data.formats.annotation_writer import (
    file_name_of,
    in_images,
    size_of,
    stem_of,
)
from meddistill.data.formats.pictures import decode_labels
from meddistill.data.formats.shapes import check_pixels, run_lengths_of
from meddistill.data.formats.text_files import WHOLE, first_text, read_json

_WITHOUT_AREA = ("point", "line", "linestrip", "points", "lines")


class LabelmeJson:
    name = "labelme"
    summary = "a JSON an image (labelme, AnyLabeling)"
    looks_like = 'JSON with "shapes" and "imagePath"'
    suffixes: tuple[str, ...] = (".json",)
    per_image = True
    no_annotation = "a file without a shape: looked at, nothing there; no file: unknown"

    def recognise(self, path: Path) -> str | None:
        head = first_text(path)
        if head.lstrip().startswith("{") and '"imageData"' in head:
            head = first_text(path, WHOLE)  # the picture may come first
        is_ours = head.lstrip().startswith("{") and '"shapes"' in head
        return "has labelme's shapes" if is_ours else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """One image, called as `imagePath` says or as the file is. labelme writes a file when a
        person saves it: one without a shape says that nothing is there."""
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            return None
        said: Counter[str] = Counter()
        name = str(content.get("imagePath") or "")
        try:
            size_hw = _size(content)
            shapes = [_object(shape, size_hw, said) for shape in content["shapes"]]
        except DAMAGED as error:
            reason = why_damaged(error, "a shape")
            raise FileError(path, f"cannot be read: {reason}") from error
        groups = [shape.get("group_id") for shape in content["shapes"]]
        objects = _grouped(
            [(each, of) for each, of in zip(shapes, groups, strict=True) if each is not None]
        )
        # A person who drew only lines has looked at something else.
        looked_at = bool(objects) or not content["shapes"]
        image = AnnotatedImage(name, objects, looked_at, size_hw, empty_mask=looked_at)
        return AnnotationFile((image,), classes_of([image]), said)


def _size(content: dict[str, Any]) -> tuple[int, int] | None:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    return (int(height), int(width)) if height and width else None


def _object(
    shape: dict[str, Any], size_hw: tuple[int, int] | None, said: Counter[str]
) -> AnnotatedObject | None:
    """The object of a shape, None for one without an area."""
    label, kind = str(shape.get("label") or ""), shape.get("shape_type") or "polygon"
    points = tuple(float(value) for point in shape["points"] for value in point[:2])
    if kind in _WITHOUT_AREA:
        said[f"shapes without an area are left out ({kind})"] += 1
        return None
    if kind == "circle":
        (cx, cy, x, y) = points
        radius = math.hypot(x - cx, y - cy)
        points = ellipse_points((cx, cy), (radius, radius))
    elif kind == "mask":
        return _mask(shape, label, points, size_hw)
    if kind == "rectangle" and len(points) in (4, 8):
        return AnnotatedObject(label, polygon_box(points))
    if len(points) < 6:
        raise InputError(f"a {kind} has {len(points) // 2} points")
    if kind in ("rotation", "oriented_rectangle"):
        said["turned boxes are taken by the box around them"] += 1
        return AnnotatedObject(label, polygon_box(points))
    return AnnotatedObject(label, polygon_box(points), (points,))


def _grouped(found: Sequence[tuple[AnnotatedObject, Any]]) -> tuple[AnnotatedObject, ...]:
    """The objects, polygons of one label and one group united: parts of one object, as labelme has it."""
    united: dict[Any, AnnotatedObject] = {}
    for place, (each, group) in enumerate(found):
        key = (each.class_name, str(group)) if each.polygons_xy_px and group is not None else place
        first = united.setdefault(key, each)
        if first is not each:
            parts = first.polygons_xy_px + each.polygons_xy_px
            box = polygon_box([value for part in parts for value in part])
            united[key] = AnnotatedObject(each.class_name, box, parts)
    return tuple(united.values())


def _mask(
    shape: dict[str, Any],
    label: str,
    points: tuple[float, ...],
    size_hw: tuple[int, int] | None,
) -> AnnotatedObject:
    """A PNG in base64 that fills the box between two points, both of whose pixels belong to it."""
    try:
        pixels = decode_labels(base64.b64decode(str(shape["mask"]), validate=False), "a mask")
    except binascii.Error:
        raise InputError("a mask is damaged") from None
    rows, columns = np.nonzero(pixels)
    if pixels.ndim != 2 or not len(rows):
        raise InputError("a mask is empty")
    left, top = round(points[0]), round(points[1])
    box = (
        float(left + columns.min()),
        float(top + rows.min()),
        float(left + columns.max() + 1),
        float(top + rows.max() + 1),
    )
    if size_hw is None or left < 0 or top < 0 or box[2] > size_hw[1] or box[3] > size_hw[0]:
        return AnnotatedObject(label, box)
    check_pixels(size_hw)
    mask = np.zeros(size_hw, dtype=bool)
    mask[top + rows, left + columns] = True
    return AnnotatedObject(label, box, run_lengths=run_lengths_of(mask))


class LabelmeWriter:
    source = "labelme"
    holds_masks = True
    holds_predictions = False
    next_step = "open images/ in labelme"
    place = staticmethod(in_images)

    def write(self, out: Path, images: Sequence[AnnotatedImage], classes: Sequence[str]) -> None:
        """A JSON beside every image; one without a shape where nothing is there, none for an unknown
        image. An object with a mask is its polygons, as one group."""
        for image in images:
            if not image.looked_at:
                continue
            height, width = size_of(image)
            shapes = [
                shape
                for number, each in enumerate(image.objects, start=1)
                for shape in _shapes(each, number)
            ]
            content: dict[str, Any] = {
                "version": "5.5.0",
                "flags": {},
                "shapes": shapes,
                "imagePath": file_name_of(image),
                "imageData": None,
                "imageHeight": height,
                "imageWidth": width,
            }
            write_json(out / "images" / f"{stem_of(image)}.json", content)


def _shapes(each: AnnotatedObject, number: int) -> list[dict[str, Any]]:
    x1, y1, x2, y2 = each.box_xyxy_px
    drawn = [
        ("polygon", [list(pair) for pair in zip(points[::2], points[1::2], strict=True)])
        for points in each.polygons_xy_px
    ] or [("rectangle", [[x1, y1], [x2, y2]])]
    return [
        {
            "label": each.class_name,
            "points": points,
            "group_id": number if len(drawn) > 1 else None,
            "description": "",
            "shape_type": kind,
            "flags": {},
            "mask": None,
        }
        for kind, points in drawn
    ]
