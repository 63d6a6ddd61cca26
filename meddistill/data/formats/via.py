"""VGG Image Annotator's JSON (a project of VIA 2 or 3, or its annotations alone; also makesense.ai's
"VGG JSON") and CSV."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from meddistill.base.errors import FileError, InputError
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
    ellipse_points,
    is_nothing_there,
    polygon_box,
)
from meddistill.data.formats.annotation_format import (
    DAMAGED,
    NOTHING_BESIDE,
    KnownBeside,
    why_damaged,
)
from meddistill.data.formats.tables import header_of, read_table_rows
from meddistill.data.formats.text_files import first_text, read_json
from meddistill.data.formats.via_project import via_3_csv_records, via_3_records

_HEADER_BYTES = 65536
"""VIA 3 writes its attributes before the names of a table's columns."""
_CLASS_KEYS = ("label", "class", "type", "name", "category", "finding")


class ViaFile:
    name = "via"
    summary = "VGG Image Annotator's JSON or CSV (makesense.ai's VGG JSON, too)"
    looks_like = "JSON or CSV with VIA's regions"
    suffixes: tuple[str, ...] = (".json", ".csv")
    per_image = False
    no_annotation = (
        'unknown: VIA lists all images that were loaded; an image attribute "nothing there" (or '
        '"normal") says that somebody looked'
    )

    def recognise(self, path: Path) -> str | None:
        if path.suffix.lower() == ".csv":
            is_third = "# CSV_HEADER = metadata_id," in first_text(path, _HEADER_BYTES)
            is_ours = is_third or "region_shape_attributes" in header_of(path)
            return "has VIA's columns" if is_ours else None
        head = first_text(path)
        is_ours = head.lstrip().startswith("{") and (
            '"_via_' in head
            or ('"regions"' in head and '"filename"' in head)
            or ('"project"' in head and ("__VIA_" in head or "VGG Image Annotator" in head))
        )
        return "has VIA's regions" if is_ours else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """Every image that VIA lists; of circles, ellipses and polygons the box around them."""
        said: Counter[str] = Counter()
        records = _csv_records(path) if path.suffix.lower() == ".csv" else _json_records(path)
        if records is None:
            return None
        images = [_image(name, marks, regions, said) for name, marks, regions in records]
        return AnnotationFile(tuple(images), classes_of(images), said)


_Record = tuple[str, Any, list[Any]]


def _json_records(path: Path) -> list[_Record] | None:
    """Name, attributes and regions of every image."""
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("_via_img_metadata"), dict):
        content = content["_via_img_metadata"]
    if not isinstance(content, dict):
        return None
    if all(isinstance(content.get(key), dict) for key in ("project", "file", "view", "metadata")):
        return via_3_records(content, path)
    records = []
    for entry in content.values():
        if not isinstance(entry, dict) or "filename" not in entry or "regions" not in entry:
            return None
        regions = entry["regions"]  # a list, in VIA 1 a table by number
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        marks = entry.get("file_attributes")
        records.append(
            (str(entry["filename"]), marks, regions if isinstance(regions, list) else [])
        )
    return records


def _csv_records(path: Path) -> list[_Record] | None:
    if first_text(path).startswith("#") and "metadata_id" in first_text(path, _HEADER_BYTES):
        return via_3_csv_records(path)
    header, rows = read_table_rows(path)
    columns = [name.lower().lstrip("#") for name in header]
    if "region_shape_attributes" not in columns or "filename" not in columns:
        return None
    found: dict[str, tuple[Any, list[Any]]] = {}
    for number, row in rows:
        values = dict(zip(columns, row, strict=True))
        marks = _parsed(values.get("file_attributes", ""), path, number)
        regions = found.setdefault(values["filename"], (marks, []))[1]
        shape = _parsed(values["region_shape_attributes"], path, number)
        if shape:
            attributes = _parsed(values.get("region_attributes", ""), path, number)
            regions.append({"shape_attributes": shape, "region_attributes": attributes})
    return [(name, marks, regions) for name, (marks, regions) in found.items()]


def _parsed(text: str, path: Path, number: int) -> Any:
    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        raise FileError(
            path, f"line {number}: expected JSON in a cell, got {text[:40]!r}"
        ) from None


def _image(name: str, marks: Any, regions: list[Any], said: Counter[str]) -> AnnotatedImage:
    try:
        shapes = [_object(region, said) for region in regions]
    except DAMAGED as error:
        reason = why_damaged(error, "a region")
        return AnnotatedImage(name, problem=reason)
    objects = tuple(each for each in shapes if each is not None)
    looked_at = bool(objects) or any(is_nothing_there(mark) for mark in _marks(marks))
    return AnnotatedImage(name, objects, looked_at)


def _marks(attributes: Any) -> Iterable[str]:
    """Every word that a table of attributes sets: values, and the keys of options that are on."""
    if isinstance(attributes, dict):
        for value in attributes.values():
            if isinstance(value, dict):
                yield from (str(key) for key, on in value.items() if on)
            else:
                yield str(value)


def _object(region: Mapping[str, Any], said: Counter[str]) -> AnnotatedObject | None:
    """The object of a region, None for one without an area."""
    shape, label = region["shape_attributes"], _class_name(region.get("region_attributes"))
    kind = str(shape.get("name", ""))
    if kind == "rect":
        x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
        return AnnotatedObject(label, (x, y, x + width, y + height))
    if kind == "polygon":
        xs, ys = shape["all_points_x"], shape["all_points_y"]
        points = tuple(float(value) for pair in zip(xs, ys, strict=True) for value in pair)
        if len(points) < 6:
            raise InputError("a polygon has fewer than three points")
    elif kind in ("circle", "ellipse"):
        centre = float(shape["cx"]), float(shape["cy"])
        radii = float(shape.get("rx", shape.get("r"))), float(shape.get("ry", shape.get("r")))
        degrees = float(shape.get("theta") or 0) * 57.29577951308232  # VIA turns in radians
        points = ellipse_points(centre, radii, degrees)
    else:
        said[f"shapes without an area are left out ({kind})"] += 1
        return None
    return AnnotatedObject(label, polygon_box(points), (points,))


def _class_name(attributes: Any) -> str:
    if not isinstance(attributes, dict) or not attributes:
        return ""
    by_key = {str(key).lower(): value for key, value in attributes.items()}
    value = next((by_key[key] for key in _CLASS_KEYS if key in by_key), next(iter(by_key.values())))
    if isinstance(value, dict):
        value = next((key for key, on in value.items() if on), "")
    return str(value).strip()
