"""Whether head and student still see differently once the student is asked, too: what their
agreement is worth rests on that. Neither warning stops a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meddistill.base import console
from meddistill.colearning.beliefs import dice
from meddistill.colearning.cell_head import CellHead, head_maps
from meddistill.colearning.colearning_row import ColearningRow
from meddistill.teachers.teacher import Encoded

COPIES_FROM = 0.95
"""Mean Dice of the heads' and the student's masks from which one repeats the other."""
BELIEVED_FROM = 0.5
"""Expected Dice from which a proposal of the heads is probably something."""
COLLAPSED_FROM = 0.5
"""Share of such proposals where the student sees nothing, from which it falls to background."""
STUDENT_THRESHOLD = 0.5
"""Probability from which a half-trained student shows a finding."""


def compare(
    heads: Sequence[CellHead], thresholds: Sequence[float], encoded: Encoded, probs: np.ndarray
) -> Sequence[float | None]:
    """Of each finding the Dice of the student's mask with the heads' on one image; None where both
    are empty, and of all without heads.

    Args:
        heads: of the last round.
        thresholds: of each finding, from which the heads' mean map shows it.
        encoded: the image.
        probs: (C, S, S) float32 in [0, 1], the student's.
    """
    if not heads:
        return [None] * len(probs)
    by_heads = head_maps(heads, encoded, probs.shape[-1]).mean(0).numpy()
    both = zip(by_heads, thresholds, probs, strict=True)
    masks = [(theirs > at, its > STUDENT_THRESHOLD) for theirs, at, its in both]
    return [
        round(dice(theirs, its), 4) if theirs.any() or its.any() else None for theirs, its in masks
    ]


def watch(before: Sequence[ColearningRow], after: Sequence[ColearningRow]) -> None:
    """Say how alike heads and student see, and warn of what makes the second look worthless; nothing
    where neither saw anything.

    Args:
        before: the heads' last round.
        after: the round in which the student was asked, of the same cases and findings in the same
            order.
    """
    alike = [row.proposers_dice for row in after if row.proposers_dice is not None]
    if not alike:
        return
    mean = float(np.mean(alike))
    told = f"masks of heads and student on the same images have a Dice of {mean:.2f}"
    console.say(told)
    if mean >= COPIES_FROM:
        console.warn(
            f"{told}: the student repeats the heads, so that it is no second opinion and being asked "
            "adds nothing"
        )
    shown = [
        now.proposers_dice
        for then, now in zip(before, after, strict=True)
        if then.expected_dice is not None and then.expected_dice >= BELIEVED_FROM
    ]
    unseen = sum(not shared for shared in shown)
    if shown and unseen >= COLLAPSED_FROM * len(shown):
        console.warn(
            f"the student sees nothing of what the heads propose on {unseen} of {len(shown)} unboxed "
            "images where that is trusted: it falls to background; look at colearning.png, and box "
            "more images or train longer (distill.colearning.steps)"
        )
