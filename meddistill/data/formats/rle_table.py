"""Tables of run lengths as Kaggle's competitions have them: an image (or an object of it) a row."""

from __future__ import annotations

from collections.abc import Sequence
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
_LEAST_RELATIVE = 3
"""Fewer rows whose runs overlap are damaged rows, not another way to count."""
_ABSOLUTE = "run lengths are counted from 1, down one column after the other"
_RELATIVE = (
    "run lengths are counted from the end of the run before, as SIIM-ACR's (from 1 they would "
    "overlap), down one column after the other"
)
Runs = tuple[np.ndarray, np.ndarray]
"""The first and the second number of every pair of a row."""


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
        columns, and its length; where `_is_relative`, it begins so far behind the run before.
        Raises: InputError for a table without the columns."""
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
        parsed: list[tuple[int, str, str, Runs]] = []
        for number, row in rows:
            name = row[image]
            found.setdefault(name, [])
            if row[runs].lower() in (*EMPTY, "-1"):
                continue
            if name not in sizes:
                sizes[name] = beside.size_of(name) if beside.size_of else beside.size_hw
            try:
                class_name = "" if label is None else row[label]
                parsed.append((number, name, class_name, _pairs(row[runs])))
            except InputError as error:
                problems.setdefault(name, f"line {number}: {error}")
        relative = _is_relative([(pairs, sizes[name]) for _, name, _, pairs in parsed])
        count = 0
        for number, name, class_name, pairs in parsed:
            try:
                found[name].append(_object(pairs, class_name, sizes[name], relative))
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
        notes = {_RELATIVE if relative else _ABSOLUTE: count}
        return AnnotationFile(images, classes_of(images), notes)


def _pairs(text: str) -> Runs:
    """Raises: InputError for anything but pairs of whole numbers."""
    try:
        numbers = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"run lengths are no whole numbers: {text[:40]!r}") from None
    if len(numbers) % 2:
        raise InputError(f"{len(numbers)} run lengths, expected pairs of a pixel and a length")
    return numbers[::2], numbers[1::2]


def _is_relative(rows: Sequence[tuple[Runs, tuple[int, int] | None]]) -> bool:
    """Whether runs begin so far behind the one before: most rows of several runs can be read so
    alone, and none can be read from 1 alone."""
    several = relative_alone = 0
    for pairs, size_hw in rows:
        if size_hw is None:
            continue
        from_one, relative = (_edges(pairs, size_hw, how) is not None for how in (False, True))
        if from_one and not relative:
            return False
        if len(pairs[0]) > 1:
            several += 1
            relative_alone += relative and not from_one
    return relative_alone >= _LEAST_RELATIVE and relative_alone > several / 2


def _edges(pairs: Runs, size_hw: tuple[int, int], relative: bool) -> np.ndarray | None:
    """Where runs begin and end, in turn, counted from 0; None where they overlap or leave the
    image."""
    height, width = size_hw
    starts, lengths = pairs
    if (np.abs(np.stack(pairs)) > height * width).any():  # sums of larger ones may overflow
        return None
    if relative:
        edges = np.stack(pairs, axis=1).ravel().cumsum()
        begins_behind = bool((starts >= 0).all())
    else:
        edges = np.stack([starts - 1, starts - 1 + lengths], axis=1).ravel()
        begins_behind = bool(edges[0] >= 0 and (edges[2::2] >= edges[1:-1:2]).all())
    fits = begins_behind and (lengths > 0).all() and edges[-1] <= height * width
    return edges if fits else None


def _object(
    pairs: Runs, label: str, size_hw: tuple[int, int] | None, relative: bool
) -> AnnotatedObject:
    if size_hw is None:
        raise InputError("no image file of its name")
    height, width = size_hw
    edges = _edges(pairs, size_hw, relative)
    if edges is None:
        raise InputError(f"run lengths overlap or leave the {width}x{height} px of the image")
    counts = tuple(int(n) for n in np.diff(np.concatenate([[0], edges, [height * width]])))
    return AnnotatedObject(label, run_lengths_box(counts, height), run_lengths=counts)
