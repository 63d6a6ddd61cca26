"""Settings of co-learning on images without a box, a section of `distill`: each field with its
unit, default and effect."""

from __future__ import annotations

import dataclasses
from typing import Optional

from meddistill.settings.checks import (
    check_at_least,
    check_choice,
    check_numbers,
    check_range,
    check_step,
)
from meddistill.settings.roles import NOTHING, STUDENT, SWITCH, setting

# OmegaConf reads annotations at run time and knows Optional[float], not every spelling of `float |
# None`.
# ruff: noqa: UP045

_MOST_VIEWS = 80
"""Encodings of boxed images at most, all views together: with 20 boxed images four views of each made
heads and student a little better on two sets, with 50 the student no better."""

_LEAST_UNBOXED = 200


@dataclasses.dataclass(frozen=True)
class ColearningConfig:
    """How training images without a box are used: section `distill.colearning`."""

    unboxed: str = setting("auto", SWITCH, before="detected")
    """Training images without a box: `propose`: a head on the teacher's map proposes boxes there,
    the teacher answers, and the student learns it as far as it is trusted; `ignore`: they are left
    out; `carry`: boxes are carried through the volumes that the slices are of; `detected`: a
    detector's boxes are taken as they are; `auto`: `carry` where most unboxed slices lie in volumes with
    a boxed one, `propose` where there are unboxed images, at most 200 others are boxed and no table of
    boxes is given."""
    rounds: int = setting(2, STUDENT, before=2)
    """How often the heads learn, propose and are answered; answers that agree teach the next."""
    ask_again: bool = setting(True, STUDENT, before=False)
    """After half of the epochs the student proposes, too; the surer answer is believed."""
    heads: int = setting(5, STUDENT, before=5)
    """Heads of a round, each trained without one fold of the boxed groups, then averaged."""
    head_steps: int = setting(300, STUDENT, before=300)
    """Optimiser steps of a head, on 2,048 cells each: about five seconds on one core."""
    head_views: int = setting(4, STUDENT, before=1)
    """Views of each boxed image that heads learn from, up to 4: as it is, mirrored, upside down, turned
    by a quarter (what `distill.flips` forbids is left out); fewer where that would be more than 80
    encodings, so one from 41 boxed images on."""
    encodings_gb: float = setting(20.0, NOTHING)
    """Most disk space for the teacher's encodings, 10^9 bytes; LiteMedSAM takes 6 MB an image. The
    oldest go first, and what is not there is encoded again: slower, the same result."""
    steps: int = setting(1000, STUDENT, before=1000)
    """Optimiser steps of the student, however many unboxed images there are; of these as many are
    looked at, drawn by chance, as are then shown twice, and no fewer than 200."""
    boxed_share: Optional[float] = setting(None, STUDENT, before=0.25)
    """Share of each batch drawn from boxed images, the rest from unboxed ones; empty: a 200th for
    each boxed image, at least a quarter and at most half."""
    lr: float = setting(1e-3, STUDENT, before=1e-3)
    """Step size at the start of the decay, in place of `distill.lr`."""
    weight_decay: float = setting(1e-2, STUDENT, before=1e-2)
    """AdamW's weight decay, in place of `distill.weight_decay`."""
    keep: str = setting("last", STUDENT, before="best")
    """Epoch whose student is kept, in place of `distill.keep`: against the last one, that which ten
    validation images praise had .012 less Dice on brain slices and .005 more on ultrasound."""
    threshold: Optional[float] = setting(None, STUDENT, before=0.5)
    """Probability from which a pixel is lesion, in place of `distill.threshold`; empty = chosen by
    agreement with the teacher where at least ten validation cases have a target, else 0.5."""

    @property
    def few_boxes(self) -> bool:
        """Whether training follows the recipe for few boxes: steps, step size and decay of here."""
        return self.unboxed in ("propose", "ignore")

    @property
    def without_detector(self) -> bool:
        """Whether unboxed training images get no box of a detector's."""
        return self.few_boxes or self.carries

    def share_of_boxed(self, boxed: int) -> float:
        """`boxed_share`, or where it is empty what goes with that many boxed images.

        Few of them, drawn more often, would only be learnt by heart; many say more than what is
        believed of the others. With 150 boxed brain slices it hardly matters: half and a quarter of
        each batch gave a Dice of .636 (two draws).
        """
        if self.boxed_share is not None:
            return self.boxed_share
        return min(max(boxed / 200, 0.25), 0.5)

    def most_unboxed(self, batch_size: int) -> int:
        """How many unboxed images are worth a look by the teacher, a second each: what is shown less
        than twice in `steps` hardly teaches."""
        share = 0.25 if self.boxed_share is None else self.boxed_share
        return max(_LEAST_UNBOXED, int(self.steps * batch_size * (1 - share) / 2))

    def views_of_each(self, boxed: int) -> int:
        """`head_views`, of so many boxed images."""
        return max(1, min(self.head_views, _MOST_VIEWS // max(1, boxed)))

    @property
    def carries(self) -> bool:
        """Whether boxes are carried through volumes."""
        return self.unboxed == "carry"

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice(self, "unboxed", ("auto", "propose", "ignore", "carry", "detected"))
        check_choice(self, "keep", ("best", "last"))
        check_at_least(self, 1, "rounds", "heads", "head_steps", "steps")
        check_at_least(self, 0, "encodings_gb")
        check_step(self, "lr")
        check_range(self, 0.05, 1.0, "boxed_share")
        check_range(self, 0.0, 1.0, "threshold", "weight_decay")
        check_range(self, 1, 4, "head_views")
