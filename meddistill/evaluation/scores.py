"""One method's scores on one case: the row of per_case.csv that everything else is computed
from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.csv_tables import read_table, where_used
from meddistill.base.errors import InputError
from meddistill.evaluation.calibration import Calibration
from meddistill.evaluation.components import LesionCounts, match_lesions
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.evaluation.metrics import score_case


@dataclasses.dataclass(frozen=True)
class Judging:
    """What a score depends on besides the masks."""

    tolerance_px: float = 2.0
    tolerance_mm: float = 1.0
    lesion_iou: float = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class ScoreRow:
    """Units and empties: `evaluation/metrics.py`. `volume` names the volume that the slice is of,
    or is empty.

    Millimetres are None where the spacing is not known; `brier` and `ece` where the method gives no
    probabilities. `finding`: which of several the row is of; empty where there is one. What follows
    is what a student says of its own answer, None of other methods and where it is unknown
    (`student/trust`); `confidence`: as in predictions.csv, of probabilities that are not calibrated.
    """

    case_id: str
    split: str
    group: str
    class_name: str
    volume: str
    method: str
    dice: float
    iou: float
    sensitivity: float
    precision: float
    specificity: float
    hd_px: float
    hd95_px: float
    assd_px: float
    nsd_px: float
    hd_mm: float | None
    hd95_mm: float | None
    assd_mm: float | None
    nsd_mm: float | None
    area_error: float
    brier: float | None
    ece: float | None
    missed: bool
    false_alarm: bool
    lesions_found: int
    lesions_missed: int
    lesions_false: int
    tp_px: int
    pred_px: int
    true_px: int
    finding: str = where_used("")
    familiarity: float | None = where_used(None)
    expected_dice: float | None = where_used(None)
    expected_dice_low: float | None = where_used(None)
    expected_dice_high: float | None = where_used(None)
    p_finding: float | None = where_used(None)
    confidence: float | None = where_used(None)
    review: bool | None = where_used(None)

    @property
    def lesions(self) -> LesionCounts:
        return LesionCounts(self.lesions_found, self.lesions_missed, self.lesions_false)


def score(
    case: JudgedCase,
    method: str,
    pred: np.ndarray,
    probs: np.ndarray | None,
    target: np.ndarray,
    judging: Judging,
    finding: str = "",
) -> ScoreRow:
    """Judge a mask, bool (H, W), and the probabilities it came from, if any, against the truth,
    bool (H, W).

    Args:
        case: what is judged.
        method: whose mask it is.
        pred: the mask.
        probs: float32 (H, W) in [0, 1], or None.
        target: the truth.
        judging: tolerances.
        finding: which of several the masks are of.
    """
    scores = score_case(
        pred,
        target,
        case.spacing_hw_mm,
        tolerance_px=judging.tolerance_px,
        tolerance_mm=judging.tolerance_mm,
    )
    lesions = match_lesions(pred, target, min_iou=judging.lesion_iou)
    calibration = None
    if probs is not None:
        calibration = Calibration()
        calibration.add(probs, target)
    overlap = scores.overlap
    return ScoreRow(
        case_id=case.case_id,
        split=case.split,
        group=case.group,
        class_name=case.class_name,
        volume=case.volume,
        method=method,
        **scores.values(),  # type: ignore[arg-type]
        brier=None if calibration is None else calibration.brier,
        ece=None if calibration is None else calibration.ece,
        missed=scores.missed,
        false_alarm=scores.false_alarm,
        lesions_found=lesions.found,
        lesions_missed=lesions.missed,
        lesions_false=lesions.false,
        tp_px=overlap.tp,
        pred_px=overlap.tp + overlap.fp,
        true_px=overlap.tp + overlap.fn,
        finding=finding,
    )


def read_scores(path: Path) -> list[ScoreRow]:
    """Rows of a per_case.csv. Raises: InputError where it is missing, damaged or empty, or has a
    case twice."""
    rows: list[ScoreRow] = read_table(path, ScoreRow)
    if not rows:
        raise InputError(f"{path} has no row: that evaluation had no true mask to compare with")
    if len({(row.case_id, row.method, row.finding) for row in rows}) != len(rows):
        raise InputError(f"{path} has a case twice for one method")
    return rows


def by_method(rows: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """Rows by method, in the order of the methods' first rows."""
    parts: dict[str, list[ScoreRow]] = {}
    for row in rows:
        parts.setdefault(row.method, []).append(row)
    return parts


def by_finding(rows: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """Rows by finding, in the order of the findings' first rows; one alone has no name."""
    parts: dict[str, list[ScoreRow]] = {}
    for row in rows:
        parts.setdefault(row.finding, []).append(row)
    return parts


def averaged(rows: Sequence[ScoreRow]) -> list[list[ScoreRow]]:
    """The rows that means are taken over, a list a finding: the mean of these lists' means counts.

    Of one of several findings they are the cases that have it: of three that exclude each other two
    thirds of all cases would else score 1 for nothing. Where there is one finding they are all. A
    finding that no case has gives no list.
    """
    lists = (
        [row for row in part if row.true_px or not finding]
        for finding, part in by_finding(rows).items()
    )
    return [part for part in lists if part]


def case_dice(rows: Sequence[ScoreRow]) -> float:
    """Dice of one method on one case: of several findings the mean over those that are there or
    were found; 1 where nothing is and nothing was."""
    told = [row.dice for row in rows if row.true_px or row.pred_px]
    return float(np.mean(told)) if told else 1.0
