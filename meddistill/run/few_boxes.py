"""Which RUN has few boxes: there the images without a box are made to pay, and no detector is
needed."""

from __future__ import annotations

from collections.abc import Sequence

from meddistill.data.findings import LESION
from meddistill.run.tables import Case

MOST_FEW = 200
"""Boxed training images up to which a head may propose on the others: measured with 20, 50 and 150, where
it hardly pays any more; with hundreds a detector's boxes are taken."""


def unboxed_cases(cases: Sequence[Case], findings: Sequence[str] = LESION.names) -> list[Case]:
    """The training cases in which nobody looked for some of the findings: of one finding those that
    nobody looked at."""
    return [
        case
        for case in cases
        if case.split == "train" and not all(case.looked_for(name) for name in findings)
    ]


def boxed_training_images(cases: Sequence[Case]) -> int:
    """Training images with a box at least."""
    return sum(case.split == "train" and case.annotation == "boxes" for case in cases)


def has_few_boxes(cases: Sequence[Case]) -> bool:
    """Whether nobody looked at some training images, and from one to `MOST_FEW` others are
    boxed."""
    unseen = any(case.split == "train" and case.annotation == "unknown" for case in cases)
    return unseen and 0 < boxed_training_images(cases) <= MOST_FEW
