"""What a student says of its own answers, gathered case by case beside the true masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from meddistill.data.boxes import fill_boxes, grow_boxes, mask_to_boxes
from meddistill.evaluation.baselines import Guess
from meddistill.evaluation.calibration import Calibration
from meddistill.evaluation.components import score_lesions
from meddistill.evaluation.scores import ScoreRow
from meddistill.student.trust.reading import OfFinding, Reading, review

REVIEW_BELOW = 0.7
"""Expected Dice below which `predict` calls for a person, unless told otherwise."""
WHERE, WHEN = ("around", "all"), ("before", "after")


@dataclasses.dataclass(frozen=True)
class SelfTold:
    """What a student says of its own answer to one image, with the findings of the data: `reading`;
    `doubts` about the image itself; `meant` float32 (C, H, W), what its probabilities mean."""

    reading: Reading
    doubts: Sequence[str]
    meant: np.ndarray


def of_data(reading: Reading, student_places: Sequence[int | None]) -> Reading:
    """The reading with the findings of the data, which the student has at `student_places`."""
    findings = tuple(
        OfFinding() if place is None else reading.findings[place] for place in student_places
    )
    return dataclasses.replace(reading, findings=findings)


def with_told(row: ScoreRow, told: SelfTold, guess: Guess, place: int) -> ScoreRow:
    """The student's row with what it says of itself.

    Args:
        row: of the finding at `place`.
        told: what it says.
        guess: its masks and probabilities.
        place: of the finding.
    """
    of, mask = told.reading.findings[place], guess.masks[place]
    assert guess.probs is not None  # the student always has some
    probs = guess.probs[place]
    wanted = review(told.reading, place, bool(mask.any()), told.doubts, REVIEW_BELOW)
    return dataclasses.replace(
        row,
        familiarity=told.reading.familiarity,
        expected_dice=of.expected_dice,
        expected_dice_low=of.expected_dice_low,
        expected_dice_high=of.expected_dice_high,
        p_finding=of.p_finding,
        confidence=float(probs[mask].mean() if mask.any() else 1 - probs.max()),
        review=wanted.wanted,
    )


def around(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The pixels near a lesion, bool (H, W): in the grown boxes of either mask. Calibrating moves
    neither."""
    size_hw = (truth.shape[0], truth.shape[1])
    boxes = np.concatenate([mask_to_boxes(mask), mask_to_boxes(truth)])
    return fill_boxes(grow_boxes(boxes), size_hw)


class SelfGathered:
    """What cannot be had from the rows of per_case.csv, of one finding: calibration before and after,
    around lesions and everywhere, and lesions one by one."""

    def __init__(self) -> None:
        self.calibration = {where: {when: Calibration() for when in WHEN} for where in WHERE}
        self.lesions: list[tuple[float, bool]] = []
        self.cut: float | None = None
        self.odd: list[bool] = []
        self.distances: list[float] = []

    def add(
        self, told: SelfTold, guess: Guess, truth: np.ndarray, place: int, lesion_iou: float
    ) -> None:
        """Count a case.

        Args:
            told: what the student says of it.
            guess: its masks and probabilities.
            truth: bool (H, W), of the finding.
            place: of the finding.
            lesion_iou: from which on a component is the lesion that it is matched with.
        """
        assert guess.probs is not None
        mask, raw = guess.masks[place], guess.probs[place]
        near = around(mask, truth)
        for when, probs in zip(WHEN, (raw, told.meant[place]), strict=True):
            self.calibration["around"][when].add(probs, truth, near)
            self.calibration["all"][when].add(probs, truth)
        self.lesions += score_lesions(mask, raw, truth, min_iou=lesion_iou)
        self.cut = told.reading.findings[place].present_cut
        self.odd.append(bool(told.doubts))
        if told.reading.signals is not None:
            self.distances.append(float(told.reading.signals[0, -1]))
