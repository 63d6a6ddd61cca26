"""Projects and tables of VGG Image Annotator 3, told as records of VIA 2."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meddistill.base.errors import FileError, in_one_line
from meddistill.data.formats.text_files import read_text

_IMAGE = 2
_KINDS = {
    1: "point",
    2: "rect",
    3: "circle",
    4: "ellipse",
    5: "line",
    6: "polyline",
    7: "polygon",
    8: "rect",  # drawn by its extreme points
    9: "circle",  # likewise
}
Record = tuple[str, dict[str, str], list[Any]]


def via_3_records(content: Mapping[str, Any], path: Path) -> list[Record]:
    """Name, attributes and regions of every image of the project in a file, as VIA 2 has them; films are left
    out. Raises: InputError for a project that is damaged."""
    try:
        files = content["file"]
        image_of = {
            view: str(files[str(found["fid_list"][0])]["fname"])
            for view, found in content["view"].items()
            if found.get("fid_list")
            and int(files[str(found["fid_list"][0])].get("type", _IMAGE)) == _IMAGE
        }
        options = {
            key: (str(each.get("aname", "")), each.get("options") or {})
            for key, each in (content.get("attribute") or {}).items()
        }
        found: dict[str, Record] = {view: (image, {}, []) for view, image in image_of.items()}
        for entry in content["metadata"].values():
            view = str(entry["vid"])
            if view not in found:
                continue
            values = _attributes(entry.get("av") or {}, options)
            shape = entry.get("xy") or []
            if shape:
                region = {"shape_attributes": _shape(shape), "region_attributes": values}
                found[view][2].append(region)
            else:
                found[view][1].update(values)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(path, f"is a damaged project of VIA 3: {error}") from error
    return list(found.values())


def via_3_csv_records(path: Path) -> list[Record]:
    """As `via_3_records`, of a CSV: comments with the attributes, then a row a region or a mark of an
    image. Rows with a time are of a film, and left out."""
    lines = read_text(path).splitlines()
    attributes: dict[str, Any] = {}
    views: dict[str, Any] = {}
    files: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    try:
        for line in lines:
            name, equals, text = line.strip('#" ,').partition(" = ")
            if line.lstrip('"').startswith("#") and equals and name.startswith("ATTRIBUTE"):
                attributes = json.loads(text)
        for row in csv.reader(line for line in lines if not line.lstrip('"').startswith("#")):
            if not any(row):
                continue
            key, (image, *_), _, times, shape, values = row[0], *_cells(row[1:6])
            if times:
                continue
            views[image], files[image] = {"fid_list": [image]}, {"fname": image}
            metadata[key] = {"vid": image, "xy": shape, "av": values}
        told = {
            key: each if isinstance(each, dict) else {"aname": each}
            for key, each in attributes.items()
        }
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise FileError(path, f"is a damaged table of VIA 3: {in_one_line(error)}") from error
    content = {"file": files, "view": views, "metadata": metadata, "attribute": told}
    return via_3_records(content, path)


def _cells(row: Sequence[str]) -> list[Any]:
    """The cells of a row as JSON. Raises: ValueError for one of another length."""
    if len(row) != 5:
        raise ValueError(f"a row has {len(row) + 1} values, expected 6")
    return [json.loads(text) for text in row]


def _attributes(values: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, str]:
    """Attributes by name, options by their text."""
    told = {}
    for key, value in values.items():
        name, texts = options.get(str(key), (str(key), {}))
        told[name] = ";".join(str(texts.get(each, each)) for each in str(value).split(","))
    return told


def _shape(numbers: Sequence[float]) -> dict[str, Any]:
    """A shape by its kind's number and its coordinates, in VIA 2's words; too few coordinates lack a
    word, which says that the region is damaged."""
    kind, values = _KINDS.get(int(numbers[0]), "unknown"), [float(value) for value in numbers[1:]]
    if kind == "polygon":
        return {"name": kind, "all_points_x": values[::2], "all_points_y": values[1::2]}
    words = {
        "rect": ("x", "y", "width", "height"),
        "circle": ("cx", "cy", "r"),
        "ellipse": ("cx", "cy", "rx", "ry"),
    }.get(kind, ())
    return {"name": kind, **dict(zip(words, values, strict=False))}
