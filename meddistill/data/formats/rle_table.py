"""Tables of run lengths as Kaggle's competitions have them: an image (or an object of it) a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meddistill.base.errors import FileError, InputError
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
)
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside
from meddistill.data.formats.box_columns import CLASS_COLUMNS, EMPTY, IMAGE_COLUMNS, first_of
from meddistill.data.formats.shapes import run_lengths_box
from meddistill.data.formats.tables import header_of, read_table_rows

_RUN_COLUMNS = ("encodedpixels", "rle", "rlemask", "maskrle", "encodedmask", "runlengths")


class RunLengthTable:
    name = "rle-csv"
    summary = "a CSV with ImageId,EncodedPixels (Kaggle's run lengths)"
    looks_like = "CSV with ImageId,EncodedPixels"
    suffixes: tuple[str, ...] = (".csv",)
    per_image = False
    no_annotation = "a row without run lengths (or -1): looked at, nothing there; no row: unknown"

    def recognise(self, path: Path) -> str | None:
        columns = header_of(path)
        runs, image = first_of(columns, _RUN_COLUMNS), first_of(columns, IMAGE_COLUMNS)
        return None if runs is None or image is None else f"has the column {columns[runs]}"

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile:
        """Images in the order of their first rows. A run is its first pixel, counted from 1 down the
        columns, and its length. Raises: InputError for a table without the columns."""
        header, rows = read_table_rows(path)
        image, runs = first_of(header, IMAGE_COLUMNS), first_of(header, _RUN_COLUMNS)
        if image is None or runs is None:
            raise FileError(
                path, f"has the columns {', '.join(header)}; expected {self.looks_like}"
            )
        label = first_of(header, CLASS_COLUMNS)
        found: dict[str, list[AnnotatedObject]] = {}
        problems: dict[str, str] = {}
        sizes: dict[str, tuple[int, int] | None] = {}
        count = 0
        for number, row in rows:
            name = row[image]
            objects = found.setdefault(name, [])
            if row[runs].lower() in (*EMPTY, "-1"):
                continue
            if name not in sizes:
                sizes[name] = beside.size_of(name) if beside.size_of else beside.size_hw
            try:
                class_name = "" if label is None else row[label]
                objects.append(_object(row[runs], class_name, sizes[name]))
                count += 1
            except InputError as error:
                problems.setdefault(name, f"line {number}: {error}")
        images = tuple(
            AnnotatedImage(
                name,
                tuple(objects),
                size_hw=sizes.get(name),
                empty_mask=True,
                problem=problems.get(name, ""),
            )
            for name, objects in found.items()
        )
        notes = {"run lengths are counted from 1, down one column after the other": count}
        return AnnotationFile(images, classes_of(images), notes)


def _object(text: str, label: str, size_hw: tuple[int, int] | None) -> AnnotatedObject:
    if size_hw is None:
        raise InputError("no image file of its name")
    height, width = size_hw
    try:
        numbers = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"run lengths are no whole numbers: {text[:40]!r}") from None
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if len(starts) != len(lengths):
        raise InputError(f"{len(numbers)} run lengths, expected pairs of a pixel and a length")
    ends = starts + lengths
    if (
        (lengths < 1).any()
        or starts[0] < 0
        or (starts[1:] < ends[:-1]).any()
        or ends[-1] > height * width
    ):
        raise InputError(f"run lengths overlap or leave the {width}x{height} px of the image")
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = tuple(int(n) for n in np.diff(np.concatenate([[0], edges, [height * width]])))
    return AnnotatedObject(label, run_lengths_box(counts, height), run_lengths=counts)
