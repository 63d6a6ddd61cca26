"""QuPath's GeoJSON: the objects of one image, in its pixels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddistill.base.errors import FileError, InputError
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
    polygon_box,
)
from meddistill.data.formats.annotation_format import (
    DAMAGED,
    NOTHING_BESIDE,
    KnownBeside,
    why_damaged,
)
from meddistill.data.formats.text_files import first_text, read_json

_OLD_KIND = re.compile(r"Path(\w+)Object")


class QupathGeojson:
    name = "qupath"
    summary = "a GeoJSON an image (QuPath)"
    looks_like = "GeoJSON with features"
    suffixes: tuple[str, ...] = (".geojson", ".json")
    per_image = True
    no_annotation = "unknown: a file may hold no object although nobody looked"

    def recognise(self, path: Path) -> str | None:
        head = first_text(path)
        is_ours = '"FeatureCollection"' in head or (
            '"Feature"' in head and head.lstrip().startswith("[")
        )
        return "has GeoJSON's features" if is_ours else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """One image, called as the file is. QuPath's detections, which its own tools made, are no
        annotations."""
        content = read_json(path)
        features = content.get("features") if isinstance(content, dict) else content
        if not isinstance(features, list):
            return None
        said: Counter[str] = Counter()
        objects: list[AnnotatedObject] = []
        try:
            for feature in features:
                objects += _objects(feature, said)
        except DAMAGED as error:
            reason = why_damaged(error, "a feature")
            raise FileError(path, f"cannot be read: {reason}") from error
        image = AnnotatedImage("", tuple(objects), looked_at=bool(objects))
        return AnnotationFile((image,), classes_of([image]), said)


def _objects(feature: Mapping[str, Any], said: Counter[str]) -> list[AnnotatedObject]:
    """The object of a feature; holes of a polygon are left out, its parts are one object."""
    facts = feature.get("properties") or {}
    kind = str(facts.get("objectType") or facts.get("object_type") or "").lower()
    if not kind:  # until QuPath 0.2 the id tells: PathDetectionObject
        found = _OLD_KIND.fullmatch(str(feature.get("id") or ""))
        kind = found[1].lower() if found else "annotation"
    if kind != "annotation":
        said[f"objects that QuPath made itself are left out ({kind})"] += 1
        return []
    geometry = feature["geometry"]
    shape, coordinates = geometry["type"], geometry["coordinates"]
    if shape not in ("Polygon", "MultiPolygon"):
        said[f"shapes without an area are left out ({shape})"] += 1
        return []
    parts = [coordinates] if shape == "Polygon" else coordinates
    rings = tuple(
        tuple(float(value) for point in part[0] for value in point[:2]) for part in parts if part
    )
    if not rings or any(len(ring) < 6 for ring in rings):
        raise InputError("a polygon has fewer than three points")
    label = facts.get("classification") or {}
    name = label
    if isinstance(label, dict):
        name = label.get("name") or ": ".join(map(str, label.get("names") or []))
    box = polygon_box([value for ring in rings for value in ring])
    # Masks are drawn without holes, which would be wrong for a ring: then the box alone is kept.
    has_hole = any(len(part) > 1 for part in parts)
    return [AnnotatedObject(str(name), box, () if has_hole else rings)]
