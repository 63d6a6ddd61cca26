"""Settings of co-learning on images without a box, a section of `distill`: each field with its
unit, default and effect."""

from __future__ import annotations

import dataclasses

from meddistill.settings.checks import check_at_least, check_choice, check_range


@dataclasses.dataclass(frozen=True)
class ColearningConfig:
    """How training images without a box are used: section `distill.colearning`."""

    mode: str = "auto"
    """`on`: a head on the teacher's map proposes boxes on unboxed images, the teacher answers, and
    the student learns from what both agree on; `off`: a detector's boxes are taken for them as
    they are; `auto`: on where training images are `unknown` and no table of boxes is given."""
    rounds: int = 3
    """How often the heads learn, propose and are answered; answers that agree teach the next."""
    heads: int = 5
    """Heads of a round, each trained without one fold of the boxed groups, then averaged."""
    head_steps: int = 300
    """Optimiser steps of a head, on 2,048 cells each: about five seconds on one core."""
    encodings_gb: float = 20.0
    """Most disk space for the teacher's encodings, 10^9 bytes; LiteMedSAM takes 2 MB an image. The
    oldest go first, and what is not there is encoded again: slower, the same result."""
    steps: int = 1000
    """Optimiser steps of the student, however many unboxed images there are; 0 = `epochs` passes
    over all of them."""
    boxed_share: float = 0.25
    """Share of each batch drawn from boxed images, the rest from unboxed ones."""

    def __post_init__(self) -> None:
        check_choice(self, "mode", ("auto", "on", "off"))
        check_at_least(self, 1, "rounds", "heads", "head_steps")
        check_at_least(self, 0, "steps", "encodings_gb")
        check_range(self, 0.05, 1.0, "boxed_share")
