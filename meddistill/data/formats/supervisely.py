"""Supervisely's annotations: a JSON an image, `a.png.json` for `a.png`."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, InputError
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
    is_nothing_there,
    polygon_box,
)
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside
from meddistill.data.formats.pictures import decode_labels
from meddistill.data.formats.shapes import check_pixels, run_lengths_of
from meddistill.data.formats.text_files import first_text, read_json


class SuperviselyJson:
    name = "supervisely"
    summary = "Supervisely's JSON an image"
    looks_like = "JSON with Supervisely's objects"
    suffixes: tuple[str, ...] = (".json",)
    per_image = True
    no_annotation = (
        'unknown: Supervisely writes a file for every image; a tag "nothing there" (or "normal") says '
        "that somebody looked"
    )

    def recognise(self, path: Path) -> str | None:
        head = first_text(path)
        is_ours = head.lstrip().startswith("{") and '"objects"' in head and '"size"' in head
        return "has Supervisely's objects" if is_ours and '"tags"' in head else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """One image, which has the file's stem. Raises: InputError for a file that is damaged."""
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
            return None
        said: Counter[str] = Counter()
        try:
            size_hw = int(content["size"]["height"]), int(content["size"]["width"])
            found = [_object(each, size_hw, said) for each in content["objects"]]
            marks = [str(tag.get("name", "")) for tag in content.get("tags") or []]
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise FileError(path, f"has a damaged object: {error}") from error
        objects = tuple(each for each in found if each is not None)
        looked_at = bool(objects) or any(map(is_nothing_there, marks))
        image = AnnotatedImage(objects=objects, looked_at=looked_at, size_hw=size_hw)
        return AnnotationFile((image,), classes_of([image]), said)


def _object(
    each: Mapping[str, Any], size_hw: tuple[int, int], said: Counter[str]
) -> AnnotatedObject | None:
    """The object of a figure, None for one without an area."""
    label, kind = str(each.get("classTitle", "")), str(each.get("geometryType", ""))
    if kind == "bitmap" or each.get("bitmap"):
        return _bitmap(each["bitmap"], label, size_hw)
    if kind not in ("", "rectangle", "polygon", "line", "point"):  # graphs, cuboids
        said[f"shapes without an area are left out ({kind})"] += 1
        return None
    points = [float(value) for point in each["points"]["exterior"] for value in point]
    if kind == "rectangle" or (not kind and len(points) == 4):
        x1, y1, x2, y2 = polygon_box(points)
        return AnnotatedObject(label, (x1, y1, x2 + 1, y2 + 1))  # the last pixel is meant, too
    if kind in ("polygon", "") and len(points) >= 6:
        # Masks are drawn without holes, which would be wrong for a ring: then the box alone is kept.
        has_hole = bool(each["points"].get("interior"))
        return AnnotatedObject(label, polygon_box(points), () if has_hole else (tuple(points),))
    said[f"shapes without an area are left out ({kind or 'unknown'})"] += 1
    return None


def _bitmap(bitmap: Mapping[str, Any], label: str, size_hw: tuple[int, int]) -> AnnotatedObject:
    """A mask that is stored as a packed PNG and the place of its first pixel. Raises: InputError."""
    check_pixels(size_hw)
    origin: Sequence[Any] = bitmap["origin"]
    x, y = int(origin[0]), int(origin[1])
    try:
        pixels = decode_labels(zlib.decompress(base64.b64decode(bitmap["data"])), "a bitmap")
    except (zlib.error, binascii.Error) as error:
        raise InputError(f"a bitmap is damaged: {error}") from error
    part = pixels > 0 if pixels.ndim == 2 else (pixels > 0).any(axis=2)
    height, width = part.shape
    if x < 0 or y < 0 or x + width > size_hw[1] or y + height > size_hw[0] or not part.any():
        raise InputError("a bitmap is empty or lies outside of its image")
    mask = np.zeros(size_hw, dtype=bool)
    mask[y : y + height, x : x + width] = part
    rows, columns = np.nonzero(mask)
    x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    box = float(x1), float(y1), float(x2), float(y2)
    return AnnotatedObject(label, box, run_lengths=run_lengths_of(mask))
