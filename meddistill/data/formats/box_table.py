"""A table of boxes that people drew, a row a box: CSV, TSV or XLSX with the columns of an image and
of a box, by any of their usual names; also without a header as makesense.ai and RetinaNet write
it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from meddistill.base.errors import InputError
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
)
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside
from meddistill.data.formats.annotation_writer import file_name_of, in_images
from meddistill.data.formats.box_columns import (
    ANNOTATOR_COLUMNS,
    CLASS_COLUMNS,
    CORNERS,
    EMPTY,
    GROUP_COLUMNS,
    HEIGHT_COLUMNS,
    IMAGE_COLUMNS,
    LISTS,
    SIZE,
    SPLIT_COLUMNS,
    WIDTH_COLUMNS,
    BoxColumns,
    Reading,
    box_columns,
    decide,
    first_of,
)
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.formats.tables import TABLE_SUFFIXES, header_of, read_table_rows, write_rows

_NUMBERS = re.compile(r"[^\s,;\[\](){}\"']+")
_NO_OBJECT = frozenset(("no finding", "no findings", "no lesion", "nothing there"))
"""Classes of a row that holds no object, whatever its numbers (VinDr-CXR: `No finding`, 0, 0, 1, 1).
`normal` is none: cells are normal."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclasses.dataclass(frozen=True)
class TableLayout:
    """Which column of a table holds what; None for what it lacks."""

    box: BoxColumns
    image: int | None
    class_name: int | None = None
    group: int | None = None
    split: int | None = None
    annotator: int | None = None
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, header: Sequence[str]) -> TableLayout | None:
        """The layout that the columns' names show, or the values of a first row that is no header;
        None where there is no box."""
        box = box_columns(header)
        if box is None:
            return _without_header(header)
        image = first_of(header, IMAGE_COLUMNS)
        class_name, group, split, annotator = (
            None if (index := first_of(header, names)) == image else index
            for names in (CLASS_COLUMNS, GROUP_COLUMNS, SPLIT_COLUMNS, ANNOTATOR_COLUMNS)
        )
        width, height = first_of(header, WIDTH_COLUMNS), first_of(header, HEIGHT_COLUMNS)
        size = None
        if width is not None and height is not None and not {width, height} & {*box.indices}:
            size = width, height
        return cls(box, image, class_name, group, split, annotator, size)


def _without_header(first: Sequence[str]) -> TableLayout | None:
    is_number = [bool(_NUMBER.fullmatch(value)) for value in first]
    is_image = [value.lower().endswith(IMAGE_SUFFIXES) for value in first]
    # makesense.ai: label, x, y, width, height, image, its width, its height
    if len(first) == 8 and is_image[5] and all(is_number[1:5]) and all(is_number[6:]):
        return TableLayout(BoxColumns(SIZE, (1, 2, 3, 4)), 5, 0, size=(6, 7))
    # RetinaNet: image, x1, y1, x2, y2, class; an image without a box has empty values
    if len(first) == 6 and is_image[0] and (all(is_number[1:5]) or not any(first[1:])):
        return TableLayout(BoxColumns(CORNERS, (1, 2, 3, 4)), 0, 5)
    return None


class BoxTable:
    name = "boxes-csv"
    summary = "a CSV, TSV or XLSX with image,x1,y1,x2,y2[,class][,group][,split], a row a box"
    looks_like = "CSV with image,x1,y1,x2,y2"
    suffixes: tuple[str, ...] = TABLE_SUFFIXES
    per_image = False
    no_annotation = "a row without values, or of the class `No finding`: looked at, nothing there; no row: unknown"

    def recognise(self, path: Path) -> str | None:
        header = header_of(path)
        layout = TableLayout.of(header)
        if layout is None or "region_shape_attributes" in header:
            return None
        indices = [*([] if layout.image is None else [layout.image]), *layout.box.indices]
        return f"has the columns {', '.join(header[index] for index in dict.fromkeys(indices))}"

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile:
        """Images in the order in which the table names them; one without a column for the image
        belongs to the image of its own name. A row whose four values are empty says that the image
        was looked at and has no lesion.

        Raises: InputError for a missing file, missing columns, or a value that is no number, naming
        the line.
        """
        header, rows = read_table_rows(path)
        layout = TableLayout.of(header)
        if layout is None:
            raise InputError(
                f"boxes file {path} has the columns {', '.join(header) or 'none'}; expected "
                "image,x1,y1,x2,y2"
            )
        if box_columns(header) is None:  # no header: its first line is a row
            rows = iter([(1, header), *rows])
        # Spreadsheets leave empty rows below a table.
        known: dict[str, str] = {}  # one text for all rows that say it: tables may have millions
        parsed, without = _without_no_objects(
            _row(number, row, layout, path, known)
            for number, row in rows
            if layout.image is None or any(row)
        )
        boxed = [(row.image, row.numbers) for row in parsed if row.numbers]
        try:
            reading = decide(layout.box.form, boxed, beside.size_of)
        except InputError as error:
            raise InputError(f"boxes file {path}: {error}") from None
        images = _images(parsed, reading, path, _sizes(beside, reading))
        notes = {f"boxes {said}": len(boxed) for said in reading.said} | without
        return AnnotationFile(images, classes_of(images), notes)


class _Row(NamedTuple):
    line: int
    image: str
    numbers: tuple[float, ...]
    class_name: str
    group: str
    split: str
    annotator: str
    size_hw: tuple[int, int] | None = None


def _row(
    number: int, row: Sequence[str], layout: TableLayout, path: Path, known: dict[str, str]
) -> _Row:
    def value(index: int | None) -> str:
        return "" if index is None else known.setdefault(row[index], row[index])

    texts = [row[index] for index in layout.box.indices]
    if layout.box.form in LISTS:
        texts = _NUMBERS.findall(texts[0]) or [texts[0]]
    numbers: tuple[float, ...] = ()
    if not all(text in EMPTY or text.lower() in EMPTY for text in texts):
        try:
            numbers = tuple(float(text) for text in texts)
            if len(numbers) != 4:
                raise ValueError(f"expected four numbers, got {row[layout.box.indices[0]]!r}")
        except ValueError as error:
            raise InputError(f"boxes file {path} line {number}: {error}") from None
    return _Row(
        number,
        value(layout.image),
        numbers,
        value(layout.class_name),
        value(layout.group),
        value(layout.split),
        value(layout.annotator),
        None if layout.size is None else _stated_size(row[layout.size[0]], row[layout.size[1]]),
    )


def _without_no_objects(rows: Iterable[_Row]) -> tuple[list[_Row], dict[str, int]]:
    """The rows, without the numbers of those whose class says that nothing is there, and how many
    had some."""
    found, count = [], 0
    for row in rows:
        is_none = bool(row.numbers) and row.class_name.lower() in _NO_OBJECT
        count += is_none
        found.append(row._replace(numbers=()) if is_none else row)
    told = {"boxes whose class says that nothing is there are none": count} if count else {}
    return found, told


@lru_cache(maxsize=1024)
def _stated_size(width: str, height: str) -> tuple[int, int] | None:
    """Height and width of the picture as a row states them; None for anything but whole numbers."""
    return (int(height), int(width)) if width.isdecimal() and height.isdecimal() else None


def _sizes(beside: KnownBeside, reading: Reading) -> Callable[[str], tuple[int, int] | None] | None:
    if not reading.in_shares:
        return lambda name: (0, 0)  # not needed
    if beside.size_of is None and beside.size_hw is None:
        return None
    return beside.size_of or (lambda name: beside.size_hw)


def _images(
    rows: Iterable[_Row],
    reading: Reading,
    path: Path,
    size_of: Callable[[str], tuple[int, int] | None] | None,
) -> tuple[AnnotatedImage, ...]:
    if size_of is None:
        raise InputError(
            f"boxes file {path} has shares of width and height, and the sizes of its images are "
            "not known"
        )
    objects: dict[tuple[str, str], list[AnnotatedObject]] = {}
    facts: dict[str, tuple[str, str]] = {}
    missing = set()
    stated: dict[str, tuple[int, int] | None] = {}
    for row in rows:
        if not reading.in_shares:  # those fit a copy of any size
            stated.setdefault(row.image, row.size_hw)
        found = objects.setdefault((row.image, row.annotator), [])
        group, split = facts.setdefault(row.image, (row.group, row.split))
        if group != row.group:
            raise InputError(
                f"{_line(path, row)}: '{row.image}' is in the groups '{group}' and '{row.group}'"
            )
        if split != row.split:
            raise InputError(
                f"{_line(path, row)}: '{row.image}' is in the splits '{split}' and '{row.split}'"
            )
        size_hw = size_of(row.image) if row.numbers else None
        if row.numbers and size_hw is None:
            missing.add(row.image)  # that there is no such image is said of its name
        elif row.numbers:
            try:
                box = _with_area(reading.box(row.numbers, size_hw), row.numbers)
                found.append(AnnotatedObject(row.class_name, box))
            except InputError as error:
                raise InputError(f"{_line(path, row)}: {error}") from None
    return tuple(
        AnnotatedImage(
            name,
            tuple(found),
            size_hw=stated.get(name),
            group=facts[name][0],
            annotator=who,
            columns={"split": facts[name][1]} if facts[name][1] else {},
            problem=f"no image file {name}" if name in missing else "",
        )
        for (name, who), found in objects.items()
    )


def _line(path: Path, row: _Row) -> str:
    return f"boxes file {path} line {row.line}"


def _with_area(
    box: tuple[float, float, float, float], numbers: Sequence[float]
) -> tuple[float, float, float, float]:
    if not (box[2] > box[0] and box[3] > box[1]):
        shown = ",".join(f"{value:g}" for value in numbers)
        raise InputError(f"box {shown} has no area; the first corner is the upper left one")
    return box


class BoxTableWriter:
    source = "boxes-csv"
    holds_masks = False
    holds_predictions = False
    next_step = "correct boxes.csv; delete a row's numbers where nothing is there"
    place = staticmethod(in_images)

    def write(self, out: Path, images: Sequence[AnnotatedImage], classes: Sequence[str]) -> None:
        """boxes.csv, a row a box; a row without numbers where nothing is there, none for an unknown
        image."""
        rows: list[list[str]] = [["image", "x1", "y1", "x2", "y2", "class"]]
        for image in images:
            if not image.looked_at:
                continue
            name = file_name_of(image)
            rows += [
                [name, *(_number(value) for value in each.box_xyxy_px), each.class_name]
                for each in image.objects
            ]
            if not image.objects:
                rows.append([name, "", "", "", "", ""])
        write_rows(out / "boxes.csv", rows)


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
