"""Which RUN has few boxes: there the images without a box are made to pay, and no detector is
needed."""

from __future__ import annotations

from collections.abc import Sequence

from meddistill.run.tables import Case

MOST_FEW = 200
"""Boxed training images up to which a head may propose on the others: measured with 20 and 50; with
hundreds a detector's boxes are as before."""


def unboxed_cases(cases: Sequence[Case]) -> list[Case]:
    """The training cases that nobody looked at."""
    return [case for case in cases if case.split == "train" and case.annotation == "unknown"]


def has_few_boxes(cases: Sequence[Case]) -> bool:
    """Whether training images are unboxed and from one to `MOST_FEW` others are boxed."""
    boxed = sum(case.split == "train" and case.annotation == "boxes" for case in cases)
    return 0 < boxed <= MOST_FEW and bool(unboxed_cases(cases))
