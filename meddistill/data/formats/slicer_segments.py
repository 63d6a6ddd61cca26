"""Segmentations of 3D Slicer (`.seg.nrrd`): what the header of an NRRD file calls its segments."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from meddistill.base.errors import FileError
from meddistill.data.formats.text_files import decode

_SUFFIXES = (".nrrd", ".nhdr")
_FIELD = re.compile(r"^Segment(\d+)_(Name|LabelValue|Layer):=(.*?)\r?$", re.MULTILINE)
_DIMENSION = re.compile(r"^dimension:\s*(\d+)", re.MULTILINE)
_END = re.compile(rb"\r?\n\r?\n")
_CHUNK, _LONGEST = 1 << 16, 1 << 22


@dataclasses.dataclass(frozen=True)
class SlicerSegments:
    """The segments of a file: `segments` their names by number, `places` the layer and the value of
    each. Where there is one layer a number is the value; where there are several (`layered`: segments
    overlap), in which values come again, it is the place in the list, from 1."""

    path: Path
    segments: Mapping[int, str]
    places: Mapping[int, tuple[int, int]]
    layered: bool


def segments_of(path: Path) -> SlicerSegments | None:
    """What the header names; None for a file of another format, and one that names no segment. Raises:
    InputError for a file that cannot be read, and segments without a value."""
    if not path.name.lower().endswith(_SUFFIXES):
        return None
    head = _head(path)
    told: dict[int, dict[str, str]] = {}
    for place, field, text in _FIELD.findall(head):
        told.setdefault(int(place), {})[field] = text.strip()
    named = [(place, each) for place, each in sorted(told.items()) if each.get("Name")]
    if not named:
        return None
    dimension = _DIMENSION.search(head)
    layered = dimension is not None and dimension[1] == "4"
    if not layered and len(named) > 1 and any("LabelValue" not in each for _, each in named):
        raise FileError(
            path, "names segments without their LabelValue: save it with 3D Slicer anew"
        )
    try:
        # Before it knew layers Slicer gave each segment one of its own, of 0 and 1.
        places = [
            (int(each.get("Layer", place if layered else 0)), int(each.get("LabelValue", 1)))
            for place, each in named
        ]
    except ValueError as error:
        raise FileError(path, f"has a segment whose value or layer is no number: {error}") from None
    numbers = [
        place + 1 if layered else value
        for (place, _), (_, value) in zip(named, places, strict=True)
    ]
    names = [each["Name"] for _, each in named]
    return SlicerSegments(
        path,
        dict(zip(numbers, names, strict=True)),
        dict(zip(numbers, places, strict=True)),
        layered,
    )


def _head(path: Path) -> str:
    """The header, which a blank line ends."""
    found = b""
    try:
        with path.open("rb") as file:
            while len(found) < _LONGEST and (chunk := file.read(_CHUNK)):
                found += chunk
                if end := _END.search(found, max(0, len(found) - len(chunk) - 4)):
                    return decode(found[: end.start()])
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from error
    return decode(found) if path.name.lower().endswith(".nhdr") else ""
