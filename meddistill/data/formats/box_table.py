"""A table of boxes that people drew: `image,x1,y1,x2,y2[,class][,group]` in px, half-open; one row
a box."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.data.annotations import AnnotatedImage, AnnotatedObject, AnnotationFile
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside, first_bytes

_IMAGE = ("image", "case_id", "filename", "file", "id", "name")
_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"))
_SIZES = ("x", "y", "width", "height")


class BoxTable:
    name = "boxes-csv"
    summary = "a CSV with image,x1,y1,x2,y2[,class][,group], a row a box"
    looks_like = "CSV with image,x1,y1,x2,y2"
    suffix = ".csv"

    def recognise(self, path: Path) -> str | None:
        line = first_bytes(path).partition(b"\n")[0].decode("utf-8-sig", "replace")
        columns = [name.strip().strip('"').lower() for name in line.split(",")]
        found = _image_and_box(columns)
        return f"has the columns {', '.join(found)}" if found else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile:
        """Images in the order in which the table names them. A row whose four values are empty says
        that the image was looked at and has no lesion.

        Raises: InputError for a missing file, missing columns, or a value that is no number, naming
        the line.
        """
        header, rows = _rows(path)
        columns = _image_and_box(header)
        if columns is None:
            raise InputError(
                f"boxes file {path} has the columns {', '.join(header) or 'none'}; expected "
                "image,x1,y1,x2,y2"
            )
        image, *corners = columns
        objects: dict[str, list[AnnotatedObject]] = {}
        groups: dict[str, str] = {}
        for number, row in enumerate(rows, start=2):
            where = f"boxes file {path} line {number}"
            if None in row or None in row.values():
                raise InputError(f"{where}: expected {len(header)} values")
            name = row[header[image]].strip()
            found = objects.setdefault(name, [])
            group = row[header["group"]].strip() if "group" in header else ""
            if groups.setdefault(name, group) != group:
                raise InputError(
                    f"{where}: '{name}' is in the groups '{groups[name]}' and '{group}'"
                )
            values = [row[header[column]].strip() for column in corners]
            if not any(values):
                continue
            try:
                box = _box([float(value) for value in values], tuple(corners) == _SIZES)
                class_name = row[header["class"]].strip() if "class" in header else ""
                found.append(AnnotatedObject(class_name, box))
            except (ValueError, InputError) as error:
                raise InputError(f"{where}: {error}") from None
        images = tuple(
            AnnotatedImage(name, tuple(found), group=groups[name])
            for name, found in objects.items()
        )
        classes = {each.class_name for found in objects.values() for each in found}
        return AnnotationFile(images, tuple(sorted(classes - {""})))


def _rows(path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Column names by their plain spelling, and the rows."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = {name.strip().lower(): name for name in reader.fieldnames or []}
            return header, list(reader)
    except FileNotFoundError:
        raise InputError(f"boxes file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"boxes file {path} cannot be read as a CSV table: {error}") from error


def _image_and_box(columns: Iterable[str]) -> tuple[str, ...] | None:
    """The columns of the image and of the box's four values; None where one is missing."""
    there = set(columns)
    image = next((name for name in _IMAGE if name in there), None)
    box = next((names for names in (*_CORNERS, _SIZES) if there.issuperset(names)), None)
    return (image, *box) if image and box else None


def _box(values: Sequence[float], is_size: bool) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = values
    box = (x1, y1, x1 + x2, y1 + y2) if is_size else (x1, y1, x2, y2)
    if not (box[2] > box[0] and box[3] > box[1]):
        raise InputError(
            f"box {x1:g},{y1:g},{x2:g},{y2:g} has no area; the first corner is the upper left one"
        )
    return box
