"""Create ML's JSON for object detection (Apple; also Roboflow's and RectLabel's export): a list of
images with their boxes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
)
from meddistill.data.formats.annotation_format import (
    DAMAGED,
    NOTHING_BESIDE,
    KnownBeside,
    why_damaged,
)
from meddistill.data.formats.text_files import first_text, read_json

_HEADER_BYTES = 65536
"""Images without a box may come first."""
_COORDINATES = re.compile(r'"coordinates"\s*:\s*\{')
"""A table: in GeoJSON they are a list."""
_IMAGE_KEYS = ("image", "imagefilename")
_OBJECT_KEYS = ("annotations", "annotation")


class CreateMlJson:
    name = "createml"
    summary = "Create ML's JSON (Apple, Roboflow, RectLabel)"
    looks_like = "JSON with Create ML's coordinates"
    suffixes: tuple[str, ...] = (".json",)
    per_image = False
    no_annotation = "unknown: a file may list images whether or not anybody looked at them"

    def recognise(self, path: Path) -> str | None:
        head = first_text(path, _HEADER_BYTES)
        is_ours = head.lstrip().startswith("[") and _COORDINATES.search(head)
        names_images = any(f'"{key}"' in head for key in _IMAGE_KEYS)
        return "has Create ML's coordinates" if is_ours and names_images else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """Every image that is listed; a box is its centre and its size in px, Create ML's default."""
        content = read_json(path)
        if not isinstance(content, list):
            return None
        images = []
        for entry in content:
            if not isinstance(entry, dict):
                return None
            name, objects = _first(entry, _IMAGE_KEYS), _first(entry, _OBJECT_KEYS)
            if not isinstance(name, str) or not isinstance(objects, list):
                return None
            images.append(_image(name, objects))
        return AnnotationFile(tuple(images), classes_of(images))


def _first(entry: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if key in entry), None)


def _image(name: str, entries: list[Any]) -> AnnotatedImage:
    try:
        objects = tuple(_object(entry) for entry in entries)
    except DAMAGED as error:
        return AnnotatedImage(name, problem=why_damaged(error, "an annotation"))
    return AnnotatedImage(name, objects, looked_at=bool(objects))


def _object(entry: Mapping[str, Any]) -> AnnotatedObject:
    at = entry["coordinates"]
    x, y, width, height = (float(at[key]) for key in ("x", "y", "width", "height"))
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return AnnotatedObject(str(entry.get("label") or "").strip(), box)
