"""A table of boxes that people drew: `image,x1,y1,x2,y2[,class][,group]` in px, half-open; one row
a box."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.objects import Annotation, main_class, wanted
from meddistill.data.sources.source import SourceOptions

_IMAGE = ("image", "case_id", "filename", "file", "id", "name")
_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"))
_SIZES = ("x", "y", "width", "height")


@dataclasses.dataclass(frozen=True)
class BoxTable:
    """Boxes by image name, as written in the table (with or without ending); an image without boxes
    has ()."""

    path: Path
    objects: Mapping[str, tuple[Annotation, ...]]
    groups: Mapping[str, str]

    @property
    def classes(self) -> list[str]:
        return sorted(
            {
                each.class_name
                for objects in self.objects.values()
                for each in objects
                if each.class_name
            }
        )

    def key_of(self, case: RawCase) -> str | None:
        """The table's name of a case: its path in the source, its file name, or its name without
        ending."""
        for name in (case.source, Path(case.source).name, case.name):
            if name in self.objects:
                return name
        return None


def read_box_table(path: Path) -> BoxTable:
    """Read a table. A row whose four values are empty says that the image was looked at and has no
    lesion.

    Raises: InputError for a missing file, missing columns, or a value that is no number, naming the
    line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = {name.strip().lower(): name for name in reader.fieldnames or []}
            rows = list(reader)
    except FileNotFoundError:
        raise InputError(f"boxes file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"boxes file {path} cannot be read as a CSV table: {error}") from error
    image = next((header[name] for name in _IMAGE if name in header), None)
    corners = next(
        (names for names in (*_CORNERS, _SIZES) if all(name in header for name in names)), None
    )
    if image is None or corners is None:
        raise InputError(
            f"boxes file {path} has the columns {', '.join(header) or 'none'}; expected "
            "image,x1,y1,x2,y2"
        )
    objects: dict[str, list[Annotation]] = {}
    groups: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InputError(f"boxes file {path} line {number}: expected {len(header)} values")
        name = row[image].strip()
        found = objects.setdefault(name, [])
        group = row[header["group"]].strip() if "group" in header else ""
        if groups.setdefault(name, group) != group:
            raise InputError(
                f"boxes file {path} line {number}: '{name}' is in the groups '{groups[name]}' and "
                f"'{group}'"
            )
        values = [row[header[column]].strip() for column in corners]
        if not any(values):
            continue
        try:
            box = _box([float(value) for value in values], corners == _SIZES)
            found.append(Annotation(row[header["class"]].strip() if "class" in header else "", box))
        except (ValueError, InputError) as error:
            raise InputError(f"boxes file {path} line {number}: {error}") from None
    return BoxTable(path, {name: tuple(found) for name, found in objects.items()}, groups)


def _box(values: Sequence[float], is_size: bool) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = values
    box = (x1, y1, x1 + x2, y1 + y2) if is_size else (x1, y1, x2, y2)
    if not (box[2] > box[0] and box[3] > box[1]):
        raise InputError(
            f"box {x1:g},{y1:g},{x2:g},{y2:g} has no area; the first corner is the upper left one"
        )
    return box


def apply_boxes(
    cases: Sequence[RawCase], table: BoxTable, options: SourceOptions
) -> tuple[list[RawCase], list[str]]:
    """The cases with the table's boxes, and the table's names that no case has. A case that the
    table does not name keeps what it had; its mask, if any, then only serves evaluation."""
    used = set()
    boxed = []
    for case in cases:
        key = table.key_of(case)
        if key is None:
            # A table of boxes says what is annotated: boxes must not come from the mask of an image
            # left out of it.
            boxed.append(dataclasses.replace(case, unannotated=True))
            continue
        used.add(key)
        objects = wanted(table.objects[key], options)
        boxed.append(
            dataclasses.replace(
                case,
                boxes_xyxy_px=tuple(each.box_xyxy_px for each in objects),
                class_name=case.class_name or main_class(objects),
                group=case.group or table.groups[key],
            )
        )
    return boxed, sorted(table.objects.keys() - used)
