"""The rows of a RUN's tables, and how they are read. `base.csv_tables` reads and writes the files."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.csv_tables import read_table, text_of_row, where_used
from meddistill.base.errors import InputError
from meddistill.data.findings import SEPARATOR
from meddistill.run.layout import CASES_CSV, RUN_JSON, require

SPLITS = ("train", "val", "test")
ANNOTATIONS = ("boxes", "none", "unknown")

_CASE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One image of the data set: a row of cases.csv.

    `annotation` is `boxes` (annotated, at least one), `none` (looked at, no lesion) or `unknown`
    (nobody looked). `image` is relative to RUN/data; `width` and `height` are its pixels;
    `spacing_mm` is `row,column` pixel spacing in mm joined by a comma, or empty. `source` is the
    file it came from, as given; `sha256` is of the PNG. `findings`: the names of those that were
    looked for, divided by `;`; empty: all of the RUN's. `volume` names the volume that the image is
    the slice number `slice` of, and `slice_mm` is the distance from slice to slice; empty for an
    image that stands alone, or where it is not known.
    """

    case_id: str
    split: str
    group: str
    class_name: str
    annotation: str
    has_mask: bool
    image: str
    width: int
    height: int
    n_boxes: int
    spacing_mm: str
    source: str
    sha256: str
    findings: str = where_used("")
    volume: str = where_used("")
    slice: int | None = where_used(None)
    slice_mm: float | None = where_used(None)

    def __post_init__(self) -> None:
        check_case_id(self.case_id)
        _check_choice("split", self.split, SPLITS)
        _check_choice("annotation", self.annotation, ANNOTATIONS)
        if (self.annotation == "boxes") != (self.n_boxes > 0):
            raise ValueError(
                f"annotation '{self.annotation}' does not go with n_boxes {self.n_boxes}"
            )
        image = Path(self.image)
        if image.is_absolute() or ".." in image.parts:
            raise ValueError(f"image '{self.image}' points outside the data folder")
        if "\0" in self.image:
            raise ValueError("image holds a NUL character")
        sides = self.spacing_mm.split(",") if self.spacing_mm else []
        if sides and not (len(sides) == 2 and all(_is_positive(side) for side in sides)):
            raise ValueError(f"spacing_mm is '{self.spacing_mm}', expected row,column in mm")
        if self.slice_mm is not None and not 0 < self.slice_mm < math.inf:
            raise ValueError(f"slice_mm is {self.slice_mm}, expected a distance in mm")

    def looked_for(self, finding: str) -> bool:
        """Whether somebody looked for this finding of a RUN with several."""
        if self.annotation == "unknown":
            return False
        return not self.findings or finding in self.findings.split(SEPARATOR)

    def of_finding(self, finding: str, n_boxes: int) -> Case:
        """The case as it is for one of several findings, of which it has `n_boxes`."""
        if not self.looked_for(finding):
            return dataclasses.replace(self, annotation="unknown", n_boxes=0)
        annotation = "boxes" if n_boxes else "none"
        return dataclasses.replace(self, annotation=annotation, n_boxes=n_boxes)

    @property
    def spacing_3d_mm(self) -> tuple[float, float, float] | None:
        """Spacing (slice, row, column) in mm, or None where one of them is not known."""
        if self.slice_mm is None or self.spacing_hw_mm is None:
            return None
        return (self.slice_mm, *self.spacing_hw_mm)

    @property
    def spacing_hw_mm(self) -> tuple[float, float] | None:
        """Pixel spacing (row, column) in mm, or None where it is not known."""
        if not self.spacing_mm:
            return None
        row, column = self.spacing_mm.split(",")
        return float(row), float(column)


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """A source file that did not become a case, and why: a row of rejected.csv."""

    source: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class BoxRow:
    """One detected box, in px of the image, half-open: it covers x1 <= x < x2 and y1 <= y < y2."""

    case_id: str
    split: str
    x1: float
    y1: float
    x2: float
    y2: float
    confidence: float
    class_name: str

    def __post_init__(self) -> None:
        check_case_id(self.case_id)
        if not all(np.isfinite([self.x1, self.y1, self.x2, self.y2, self.confidence])):
            raise ValueError("box has a coordinate or confidence that is not finite")


@dataclasses.dataclass(frozen=True, slots=True)
class QualityRow:
    """How far the teacher's mask of one case is to be trusted: a row of quality.csv (see
    `targets/gating.py`).

    `finding`: which of several the row is of; empty where there is one. `key` finds the target; `v`
    is the published variance, `doubt` ours (both [0, 1]); `agreement`, `stability`, `box_iou` and
    `area_share` lie in [0, 1], `predicted_iou` may exceed 1. `weight` scales the case's loss in
    [0, 1].
    """

    case_id: str
    split: str
    prompt_source: str
    n_boxes: int
    key: str
    v: float
    doubt: float
    agreement: float
    stability: float
    predicted_iou: float
    box_iou: float
    area_share: float
    accepted: bool
    reason: str
    weight: float
    finding: str = where_used("")


def fingerprint_targets(quality: Iterable[QualityRow]) -> str:
    """What a student learns from: unlike run.json of the teacher, not what else was asked of it
    meanwhile."""
    rows = [text_of_row(row) for row in quality if row.split != "test"]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def check_case_id(case_id: str) -> None:
    """Raise ValueError unless `case_id` is a plain name: case ids become file names."""
    if not _CASE_ID.fullmatch(case_id):
        raise ValueError(
            f"case_id {case_id!r} is not a plain name (letters, digits, '.', '_', '-')"
        )


def _check_choice(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is not one of {', '.join(allowed)}")


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def read_cases(data_dir: Path) -> list[Case]:
    """All cases of a prepared data folder, in the file's order.

    Raises: StageError where `meddistill prepare` has not finished; InputError for a damaged table
    or a case id twice.
    """
    require(data_dir / RUN_JSON, "prepare")
    cases = read_table(data_dir / CASES_CSV, Case)
    if len({case.case_id for case in cases}) != len(cases):
        raise InputError(f"{data_dir / CASES_CSV} names a case_id twice")
    return cases


def read_boxes(path: Path, cases: Iterable[Case]) -> dict[str, list[BoxRow]]:
    """Detected boxes by case id; a case without a row has no entry.

    Raises: InputError for a damaged table, or rows of cases that cases.csv does not have (the first
    three are named).
    """
    known = {case.case_id for case in cases}
    found: dict[str, list[BoxRow]] = {}
    for row in read_table(path, BoxRow):
        found.setdefault(row.case_id, []).append(row)
    strangers = [case_id for case_id in found if case_id not in known]
    if strangers:
        raise InputError(
            f"{path} has boxes of {len(strangers)} case(s) that are not in cases.csv: "
            f"{', '.join(strangers[:3])}"
        )
    return found


def boxes_xyxy(rows: Sequence[BoxRow]) -> np.ndarray:
    """Coordinates (N, 4) float32 of box rows."""
    return np.array([[row.x1, row.y1, row.x2, row.y2] for row in rows], dtype=np.float32).reshape(
        -1, 4
    )
