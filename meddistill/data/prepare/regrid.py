"""`prepare.spacing_mm`: images and masks of RUN/data on one grid of pixels in mm."""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.console import track
from meddistill.base.errors import InputError
from meddistill.data.findings import Findings, as_planes
from meddistill.data.formats.pictures import encode_png, load_labels, load_picture
from meddistill.data.grid import Grid, Spacing, resampled_hw
from meddistill.data.masks import read_mask
from meddistill.data.prepare.convert import Converted, encode_mask
from meddistill.data.raw_case import RawCase
from meddistill.run.layout import STAGING
from meddistill.run.tables import Case

MEDIAN = "auto"
WITHOUT_SPACING = "has no pixel spacing, which prepare.spacing_mm needs: give it in the file or a "
WITHOUT_SPACING += "column `spacing`, or leave spacing_mm empty"


def refuse_without_spacing(
    cases: Sequence[RawCase], converted: Sequence[Converted], strict: bool
) -> list[Converted]:
    """The results of the cases, those of images whose spacing is not known with that as the reason.

    Raises: InputError for the first of them where that is to stop (`strict`).
    """
    found = []
    for case, each in zip(cases, converted, strict=True):
        if not (each.reason or each.skipped or each.spacing_mm):
            if strict:
                raise InputError(f"--strict: {case.source}: {WITHOUT_SPACING}")
            each = dataclasses.replace(each, reason=WITHOUT_SPACING)
        found.append(each)
    return found


def choose_grid(rows: Sequence[Case], wanted: str) -> Grid:
    """The grid of prepared cases. `wanted`: mm, or `auto`, the median spacing of the training images.

    Raises: InputError where an image's spacing cannot be meant.
    """
    training = [row for row in rows if row.split == "train"]
    sides = [side for row in training for side in _spacing(row)]
    spacing_mm = round(statistics.median(sides), 4) if wanted == MEDIAN else float(wanted)
    longest = max(max(_new_hw(row, spacing_mm)) for row in training)
    return Grid(spacing_mm, longest)


def onto_grid(
    out: Path,
    rows: Sequence[Case],
    results: Mapping[str, Converted],
    findings: Findings,
    grid: Grid,
) -> tuple[list[Case], dict[str, Converted]]:
    """Rows and results of the cases on the grid; their files lie in the staging folder, beside those
    that they were made of.

    Raises: InputError where an image's spacing cannot be meant.

    Args:
        out: RUN/data.
        rows: the cases as they were read.
        results: their conversions by case id.
        findings: of the RUN.
        grid: all images have it afterwards.
    """
    new_rows, new_results = [], {}
    for row in track(rows, f"resample to {grid.spacing_mm:g} mm", len(rows)):
        row, result = _moved(out / STAGING, row, results[row.case_id], findings, grid)
        new_rows.append(row)
        new_results[row.case_id] = result
    return new_rows, new_results


def _moved(
    staging: Path, row: Case, result: Converted, findings: Findings, grid: Grid
) -> tuple[Case, Converted]:
    spacing = _spacing(row)
    size_hw = _new_hw(row, grid.spacing_mm)
    key = f"{result.key}.grid"
    image = grid.put(load_picture(staging / f"{result.key}.png"), spacing)
    content = encode_png(image)
    (staging / f"{key}.png").write_bytes(content)
    if result.has_mask:
        planes = _planes(staging / f"{result.key}.mask.png", findings)
        moved = grid.put_masks(planes, spacing)
        (staging / f"{key}.mask.png").write_bytes(encode_mask(moved, findings))
    scale = size_hw[0] / row.height, size_hw[1] / row.width
    boxes = [
        [x1 * scale[1], y1 * scale[0], x2 * scale[1], y2 * scale[0]]
        for x1, y1, x2, y2 in result.boxes
    ]
    place = {
        "height": image.shape[0],
        "width": image.shape[1],
        "spacing_mm": f"{spacing[0] / scale[0]:g},{spacing[1] / scale[1]:g}",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return (
        dataclasses.replace(row, **place),
        dataclasses.replace(result, key=key, boxes=boxes, **place),
    )


def _planes(path: Path, findings: Findings) -> np.ndarray:
    if findings.is_one:
        return as_planes(read_mask(path))
    return findings.decode(load_labels(path)[0], path.name)


def _spacing(row: Case) -> Spacing:
    assert row.spacing_hw_mm is not None  # others were refused
    return row.spacing_hw_mm


def _new_hw(row: Case, spacing_mm: float) -> tuple[int, int]:
    try:
        return resampled_hw((row.height, row.width), spacing_mm, _spacing(row))
    except InputError as error:
        raise InputError(f"{row.source}: {error}") from error
