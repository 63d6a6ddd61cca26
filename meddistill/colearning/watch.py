"""What is said of a round: how much was proposed and answered, and whether head and student still see
differently once the student is asked, too, as what their agreement is worth rests on that. No warning
stops a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meddistill.base import console
from meddistill.colearning.beliefs import NOTHING, STUDENT, dice
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

HARDLY_ANY = 0.05
"""Share of answered findings below which unboxed images teach next to nothing."""


def tell_round(rows: Sequence[ColearningRow], covering: int) -> None:
    """Say how much was proposed and answered in a round, and warn where that is hardly anything.

    Args:
        rows: of the round, at least one.
        covering: how many answers covered the whole image and counted as none.
    """
    answered = [row for row in rows if row.believed != NOTHING]
    expected = [row.expected_dice for row in answered if row.expected_dice is not None]
    mean = f", expected Dice {np.mean(expected):.2f}" if expected else ""
    theirs = sum(row.believed == STUDENT for row in answered)
    whose = f" ({theirs} of the student)" if theirs else ""
    what = "findings in unboxed images" if any(row.finding for row in rows) else "unboxed images"
    nothing = f"nothing proposed on {len(rows) - len(answered)}"
    if covering:
        nothing = (
            f"nothing to believe on {len(rows) - len(answered)}; {covering} answers covered the whole "
            "image and count as none, many of them speak for another --teacher"
        )
    of = f"{len(answered)} of {len(rows)} {what}"
    console.say(f"round {rows[0].round}: proposals{whose} answered on {of}{mean}; {nothing}")
    if len(answered) < HARDLY_ANY * len(rows):
        console.warn(
            f"proposals were answered on {of}; the others teach, with less weight, that nothing is "
            "there. Unless they are empty, box more images, or leave them out: --set "
            "distill.colearning.unboxed=ignore"
        )


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
