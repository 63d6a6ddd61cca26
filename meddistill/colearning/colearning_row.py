"""What was asked and believed of an unboxed image, as colearning.csv tells it."""

from __future__ import annotations

import dataclasses

import numpy as np

from meddistill.base.csv_tables import where_used
from meddistill.colearning.answers import Answer
from meddistill.colearning.beliefs import Belief, Calibration, dice, sureness
from meddistill.colearning.proposals import Proposal


@dataclasses.dataclass(frozen=True, slots=True)
class ColearningRow:
    """What was asked and believed of one unboxed case in one round: a row of colearning.csv.

    `round` counts from 1. The box `x1` to `y2` is around all proposed boxes, in px of the image,
    half-open; empty where nothing was proposed. `confidence`: mean probability inside the proposal;
    `predicted_iou`: the teacher's estimate of its answer; `agreement`: Dice of answer and proposal;
    `expected_dice`: what such an answer was worth on boxed images. All in [0, 1]. `believed`: whose
    proposal, `head`, `student` or `nothing`; `weight`: of the case in the student's loss.
    `finding`: which of several the row is of; empty where there is one. `proposers_dice`: once the
    student is asked, Dice of its mask with the heads', 0 where one of them is empty; None before, and
    where both are.
    """

    round: int
    case_id: str
    believed: str
    weight: float
    n_boxes: int = 0
    x1: float | None = None
    y1: float | None = None
    x2: float | None = None
    y2: float | None = None
    confidence: float | None = None
    predicted_iou: float | None = None
    agreement: float | None = None
    expected_dice: float | None = None
    proposers_dice: float | None = None
    finding: str = where_used("")


def with_belief(row: ColearningRow, belief: Belief) -> ColearningRow:
    """The row with what was believed in the end."""
    return dataclasses.replace(row, believed=belief.source, weight=round(belief.weight, 4))


def asked_about(
    row: ColearningRow,
    boxes: np.ndarray,
    proposal: Proposal,
    answer: Answer,
    calibration: Calibration,
) -> ColearningRow:
    """The row with what was proposed and answered.

    Args:
        row: of the case and finding.
        boxes: that were proposed, (N, 4) px of the image.
        proposal: likewise.
        answer: the teacher's.
        calibration: what its sureness is worth.
    """
    x1, y1 = (round(float(side), 2) for side in boxes[:, :2].min(0))
    x2, y2 = (round(float(side), 2) for side in boxes[:, 2:].max(0))
    return dataclasses.replace(
        row,
        n_boxes=len(boxes),
        x1=x1,
        y1=y1,
        x2=x2,
        y2=y2,
        confidence=round(proposal.confidence, 4),
        predicted_iou=round(answer.predicted_iou, 4),
        agreement=round(dice(answer.probs > 0.5, proposal.mask), 4),
        expected_dice=round(calibration(sureness(proposal, answer)), 4),
    )


def sureness_told(row: ColearningRow) -> float:
    """Of the answer that a row tells of; -1 where nothing was proposed."""
    if row.confidence is None or row.predicted_iou is None:
        return -1.0
    return row.confidence * row.predicted_iou
