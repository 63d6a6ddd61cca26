"""What a teacher that is asked by the box of a student's own mask adds to what the student says of
it. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from meddistill.data.findings import Findings
from meddistill.student.trust.reading import OfFinding, Reading
from meddistill.student.trust.trust import Expected, Trust

TEACHER_CUT = 0.5
"""Probability from which a pixel is the teacher's lesion."""


@dataclasses.dataclass(frozen=True)
class Opinion:
    """A teacher's answers to the boxes of masks (C, H, W): `probs` float32 (C, H, W) in [0, 1],
    `predicted_iou` (C,), its own estimate in [0, 1]; NaN of a finding that has no box to ask by."""

    probs: np.ndarray
    predicted_iou: np.ndarray


class SecondOpinion(Protocol):
    """Whom `predict --ask-teacher` asks."""

    def __call__(self, image: np.ndarray, masks: np.ndarray) -> Opinion | None:
        """Of an image uint8 (H, W) or (H, W, 3) and bool (C, H, W); None where no mask has a box."""
        ...


@dataclasses.dataclass(frozen=True)
class Settled:
    """An answer after the teacher was asked: `reading` with sharper expectations, `masks` and `probs`
    (C, H, W), `agreement` (C,) Dice of the student's mask with the teacher's answer, NaN where it was
    not asked, `refined` (C,): whether the teacher's mask stands in place of the student's."""

    reading: Reading
    masks: np.ndarray
    probs: np.ndarray
    agreement: np.ndarray
    refined: np.ndarray


@dataclasses.dataclass(frozen=True)
class Answer:
    """A student's own: `masks` bool and `probs` float32 (C, H, W) as they are written, `raw` float32
    (C, H, W) before calibration, its `reading`."""

    reading: Reading
    masks: np.ndarray
    probs: np.ndarray
    raw: np.ndarray
    cuts: tuple[float, ...]


def agreement(mask: np.ndarray, probs: np.ndarray) -> float:
    """Dice, in [0, 1], of a mask with the teacher's answer; 1 of two empty ones."""
    theirs = probs >= TEACHER_CUT
    total = int(mask.sum() + theirs.sum())
    return 2 * int((mask & theirs).sum()) / total if total else 1.0


def asked_signals(reading: Reading, place: int, agreed: float, predicted_iou: float) -> np.ndarray:
    """(K + 3,): those of the student alone, and what the teacher adds."""
    assert reading.signals is not None
    return np.r_[reading.signals[place], agreed, predicted_iou]


def settle(
    answer: Answer, opinion: Opinion | None, trust: Trust, findings: Findings, refine: bool
) -> Settled:
    """The answer as it stands after the teacher was asked.

    With `refine` its mask stands where more Dice is to be expected of it, as measured on validation;
    of findings that exclude each other a pixel goes to the more probable.

    Args:
        answer: the student's.
        opinion: of the teacher; None: not asked.
        trust: what is expected by what was fitted.
        findings: of the student.
        refine: whether its mask may stand.
    """
    count = len(findings)
    agreed, refined = np.full(count, np.nan), np.zeros(count, bool)
    if opinion is None:
        return Settled(answer.reading, answer.masks, answer.probs, agreed, refined)
    told = list(answer.reading.findings)
    for place, of in enumerate(trust.findings):
        if not np.isfinite(opinion.predicted_iou[place]):
            continue
        agreed[place] = agreement(answer.masks[place], opinion.probs[place])
        if of.asked is None:
            continue
        signals = asked_signals(answer.reading, place, agreed[place], opinion.predicted_iou[place])[
            None
        ]
        by = of.asked
        if refine and of.refined is not None and of.refined.line(signals) > by.line(signals):
            by, refined[place] = of.refined, True
        told[place] = _expecting(told[place], by, signals)
    reading = dataclasses.replace(answer.reading, findings=tuple(told))
    if not refined.any():
        return Settled(reading, answer.masks, answer.probs, agreed, refined)
    chosen = refined[:, None, None]
    cuts = np.where(refined, TEACHER_CUT, answer.cuts)
    masks = np.where(chosen, opinion.probs >= TEACHER_CUT, answer.masks)
    if findings.settles:
        masks = findings.masks(np.where(chosen, opinion.probs, answer.raw), cuts.tolist())
    return Settled(reading, masks, np.where(chosen, opinion.probs, answer.probs), agreed, refined)


def _expecting(of: OfFinding, by: Expected, signals: np.ndarray) -> OfFinding:
    expected = by.line(signals)
    low, high = by.interval(expected)
    return dataclasses.replace(
        of,
        expected_dice=float(expected[0]),
        expected_dice_low=float(low[0]),
        expected_dice_high=float(high[0]),
    )
