"""Settings of the teacher's soft masks, a section of `distill`: each field with its unit, default
and effect."""

from __future__ import annotations

import dataclasses
from typing import Optional

from meddistill.settings.checks import (
    check_at_least,
    check_choice,
    check_numbers,
    check_range,
)
from meddistill.settings.roles import CHOICE, FEATURES, TARGETS, setting

# OmegaConf reads annotations at run time and knows Optional[float], not every spelling of `float |
# None`.
# ruff: noqa: UP045


@dataclasses.dataclass(frozen=True)
class TargetsConfig:
    """How the teacher's soft masks are made: section `distill.targets`."""

    jitter_copies: int = setting(8, TARGETS)
    """Jittered copies of each box; uncertainty is the variance over them. 0: the plain box, no
    uncertainty."""
    jitter_share: float = setting(0.1, TARGETS)
    """Largest shift of each side of a jittered box, as a share of the box's width or height."""
    views: str = setting("auto", TARGETS, before="whole")
    """What the teacher sees: the `whole` image, a window around each box enlarged (`zoom`), `both`,
    averaged, in twice the time, or `auto`: both for annotated and carried boxes, the whole for others.
    What is carried by a teacher's memory is seen whole. A window sharpens what a right box holds, and
    always finds something in a wrong one."""
    zoom: float = setting(2.0, TARGETS)
    """Side of that window, in longer sides of the box."""
    logit_shift: Optional[float] = setting(None, TARGETS, before=0.0)
    """Added to the logit of the teacher's mean: above 0 widens its masks. Empty = what the teacher
    is known to need."""
    seed: int = setting(0, TARGETS)
    """Seed of the jitter: not the run's, so that students of several seeds share their targets."""
    min_trust: float = setting(0.4, CHOICE)
    """A case with less trust (predicted IoU times IoU of mask and box, in [0, 1]) is not accepted;
    0 accepts all."""
    min_trust_detected: float = setting(0.8, CHOICE)
    """The same for boxes of a detector or the student, where trust is the predicted IoU alone."""
    min_trust_carried: float = setting(0.5, CHOICE, before=0.5)
    """The same for slices to which a box was carried through a volume: trust is what is left, step by
    step, of 1 at the boxed slice (see `colearning/carrying.py`)."""
    carry_margin: float = setting(0.1, CHOICE, before=0.1)
    """By how much a mask's box grows before it prompts the next slice, as a share of its sides; a teacher
    that follows boxes by its own memory (SAM 2) is not prompted again."""
    carried_weight: float = setting(0.5, CHOICE, before=0.5)
    """Weight of a carried slice in the loss against a boxed one, at full trust."""
    feature_bytes: int = setting(300_000, FEATURES)
    """Most bytes of cached feature maps a case; the levels share them, and the PCA keeps as many
    channels as fit."""
    feature_grid: int = setting(32, FEATURES)
    """Side of the raster on the student's frame onto which feature maps are averaged."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice(self, "views", ("auto", "whole", "zoom", "both"))
        check_at_least(self, 0, "jitter_copies", "seed", "feature_bytes")
        check_at_least(self, 1.2, "zoom")
        check_at_least(self, 1, "feature_grid")
        check_range(self, 0.0, 0.5, "jitter_share")
        check_range(self, 0.0, 1.0, "min_trust", "min_trust_detected", "min_trust_carried")
        check_range(self, 0.0, 1.0, "carry_margin", "carried_weight")
