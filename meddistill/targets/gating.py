"""How far a target is believed: what that is judged by depends on whose box prompted the teacher.

A new source of prompts is one line in `TRUST_RULES`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from meddistill.settings.targets import TargetsConfig
from meddistill.targets.prompts import ANNOTATED, CARRIED, DETECTED, STUDENT
from meddistill.targets.scores import Scores


@dataclasses.dataclass(frozen=True)
class Trust:
    """How far to trust a mask: `value` in [0, 1], and the `source` of the prompt, by whose rule it
    was found."""

    value: float
    source: str


@dataclasses.dataclass(frozen=True)
class TrustRule:
    """How masks of one source of prompts are trusted.

    `value`: from scores to trust in [0, 1]. `least`: the trust from which a case is accepted, by
    the settings. `box_is_witness`: the box tells where the lesion ends, and so a reason for
    refusing the mask names their overlap.
    """

    value: Callable[[Scores], float]
    least: Callable[[TargetsConfig], float]
    box_is_witness: bool


@dataclasses.dataclass(frozen=True)
class Grade:
    """The verdict on a case: `doubt` in [0, 1], `weight` of its loss in [0, 1], and why it was not
    accepted."""

    doubt: float
    accepted: bool
    reason: str
    weight: float


NOTHING_ASKED = Grade(0.0, True, "", 1.0)
"""Of a case without a box: nothing was asked, nothing is in doubt."""


def _predicted_iou(scores: Scores) -> float:
    return min(max(scores.predicted_iou, 0.0), 1.0)


def _predicted_iou_and_box(scores: Scores) -> float:
    return _predicted_iou(scores) * scores.box_iou


_DRAWN_BY_PEOPLE = TrustRule(_predicted_iou_and_box, lambda config: config.min_trust, True)
_FOUND_BY_A_NETWORK = TrustRule(_predicted_iou, lambda config: config.min_trust_detected, False)

TRUST_RULES = {
    ANNOTATED: _DRAWN_BY_PEOPLE,
    DETECTED: _FOUND_BY_A_NETWORK,
    STUDENT: _FOUND_BY_A_NETWORK,
    CARRIED: TrustRule(_predicted_iou, lambda config: config.min_trust_carried, False),
}
"""Source of a prompt -> its rule."""


def trust(scores: Scores, source: str) -> Trust:
    """How far to trust the mask: the teacher's predicted IoU (at most 1), and for an annotated box
    times the IoU of mask and box.

    Chosen by measurement with LiteMedSAM on folds 1-3 of the brain tumour set
    (scripts/studies/teacher.py), as rank correlation with true Dice and with lesion area. Tight
    boxes, 680 cases: the product .90 and .10, predicted IoU .71 and .10, box IoU .86 and .11,
    agreement of the copies .18 and -.28, stability .72 and .16; 1 - v: -.29 and -.94, so v only
    tells how large the lesion is. A detector's boxes, 320 cases: predicted IoU .64 and .02, the
    product .54 and .13, box IoU .36 and .17, the detector's confidence .55: a mask may fill a wrong
    box well.
    """
    return Trust(TRUST_RULES[source].value(scores), source)


def grade(scores: Scores, config: TargetsConfig, source: str = ANNOTATED) -> Grade:
    """Doubt (1 - `trust`), weight and acceptance of a case; below the least trust of its source or
    empty it is not accepted."""
    rule = TRUST_RULES[source]
    trusted = trust(scores, source).value
    least = rule.least(config)
    reason = ""
    if scores.area_share == 0:
        reason = "the teacher's mask is empty"
    elif trusted < least:
        reason = f"trust {trusted:.2f} below {least}: predicted IoU {scores.predicted_iou:.2f}"
        reason += f", mask and box overlap {scores.box_iou:.2f}" if rule.box_is_witness else ""
    accepted = not reason
    return Grade(1.0 - trusted, accepted, reason, float(accepted))
