"""Settings of `meddistill eval`: each field with its unit, default and effect."""

from __future__ import annotations

import dataclasses
from typing import Optional

from meddistill.settings.checks import (
    check_at_least,
    check_choice,
    check_numbers,
    check_range,
)
from meddistill.settings.roles import NOTHING, RESULT, setting

# OmegaConf reads annotations at run time and knows Optional[float], not every spelling of `float |
# None`.
# ruff: noqa: UP045


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Settings of `meddistill eval`."""

    split: str = setting("test", RESULT)
    """Which split is evaluated: `train`, `val` or `test`."""
    threshold: Optional[float] = setting(None, RESULT)
    """Probability, calibrated as `predict` shows it, from which a pixel is lesion; empty = what the
    student stored."""
    findings: list[str] = setting([], RESULT, before=[])
    """Which of several findings are judged; empty = all of them."""
    baselines: bool = setting(True, RESULT)
    """Also evaluate the filled detector boxes and the teacher prompted by them."""
    ask_teacher: str = setting("auto", RESULT, before="never")
    """Also ask the teacher about the boxes of the student's mask and of co-learning's heads, and
    about the true boxes of cases without a mask: `always`, `never`, or `auto`: where few boxes made
    the student or no case has a mask, and the teacher's weights are on this machine."""
    flip_average: bool = setting(False, RESULT)
    """Average the student's probabilities over the image and its mirror image: twice the time. Off
    by itself where the name of one of several findings says a side (left, anterior)."""
    min_component_px: int = setting(0, RESULT)
    """Components of the student's mask below this many pixels are removed; 0 keeps all."""
    keep_largest: bool = setting(False, RESULT)
    """Keep the largest component of the student's mask alone."""
    tolerance_px: float = setting(2.0, RESULT)
    """Distance at which two outlines still count as one in NSD, px."""
    tolerance_mm: float = setting(1.0, RESULT)
    """The same in mm, where the spacing is known."""
    lesion_iou: float = setting(0.1, RESULT)
    """Overlap (IoU) from which a predicted component is the true lesion it is matched with."""
    gallery_cases: int = setting(120, RESULT)
    """Most cases shown in the report's gallery; it keeps the page small enough to send."""
    batch_size: int = setting(16, NOTHING)
    """Images a forward pass; does not change the result."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice(self, "split", ("train", "val", "test"))
        check_choice(self, "ask_teacher", ("auto", "always", "never"))
        check_at_least(self, 1, "batch_size")
        check_at_least(self, 0, "min_component_px", "gallery_cases", "tolerance_px", "tolerance_mm")
        check_range(self, 0.0, 1.0, "lesion_iou", "threshold")
