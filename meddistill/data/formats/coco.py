"""COCO: a JSON with images, annotations (boxes, polygons, run lengths) and categories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meddistill.base.errors import InputError
from meddistill.data.annotations import AnnotatedImage, AnnotatedObject, AnnotationFile
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside, first_bytes
from meddistill.data.formats.shapes import parse_run_lengths

_KEYS = ("images", "annotations", "categories")


class CocoJson:
    name = "coco"
    summary = "a JSON with images, annotations and categories (boxes, polygons, RLE)"
    looks_like = f"JSON with the keys {', '.join(_KEYS)}"
    suffix = ".json"

    def recognise(self, path: Path) -> str | None:
        head = first_bytes(path)
        return "has COCO's keys" if any(f'"{key}"'.encode() in head for key in _KEYS) else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """Every image that COCO lists was looked at: no annotation means no lesion, and an empty
        mask."""
        content = _read(path)
        if content is None:
            return None
        names, by_image = _tables(content, path)
        images = tuple(_image(record, by_image, names) for record in content["images"])
        return AnnotationFile(images, tuple(sorted(set(names.values()))))


def _read(path: Path) -> dict[str, Any] | None:
    """The content, or None for a JSON that is something else. Raises: InputError for one that is
    broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in _KEYS
    ):
        return None
    return content


def _tables(
    content: dict[str, Any], path: Path
) -> tuple[dict[Any, str], dict[Any, list[dict[str, Any]]]]:
    """Names of the categories by id, annotations by image. Raises: InputError."""
    by_image: dict[Any, list[dict[str, Any]]] = {}
    try:
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        for record in content["annotations"]:
            by_image.setdefault(record.get("image_id"), []).append(record)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__} {error}"
        raise InputError(
            f"{path}: a category lacks id or name, or an annotation is none ({what})"
        ) from error
    return names, by_image


def _image(
    record: Any, by_image: dict[Any, list[dict[str, Any]]], names: dict[Any, str]
) -> AnnotatedImage:
    file_name = str(record.get("file_name", "")) if isinstance(record, dict) else ""
    try:
        annotations = by_image.get(record["id"], [])
        file_name = str(record["file_name"])
        size_hw = int(record["height"]), int(record["width"])
        objects = tuple(_object(annotation, names) for annotation in annotations)
    except (InputError, LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        is_ours = isinstance(error, InputError)
        problem = str(error) if is_ours else f"{type(error).__name__} {error}"
        return AnnotatedImage(file_name, problem=problem)
    return AnnotatedImage(file_name, objects, size_hw=size_hw, empty_mask=True)


def _object(record: dict[str, Any], names: dict[Any, str]) -> AnnotatedObject:
    x, y, width, height = (float(value) for value in record["bbox"])
    shape = record.get("segmentation") or []
    polygons: tuple[tuple[float, ...], ...] = ()
    run_lengths = None
    if isinstance(shape, dict):
        counts = shape["counts"]
        run_lengths = (
            parse_run_lengths(counts)
            if isinstance(counts, str)
            else tuple(int(count) for count in counts)
        )
    else:
        polygons = tuple(tuple(float(value) for value in points) for points in shape)
        if any(len(points) < 6 or len(points) % 2 for points in polygons):
            raise InputError(
                "a polygon has fewer than three points, or an odd number of coordinates"
            )
    return AnnotatedObject(
        names[record["category_id"]], (x, y, x + width, y + height), polygons, run_lengths
    )
