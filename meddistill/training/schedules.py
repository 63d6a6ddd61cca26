"""The step size at every step: the schedules that `distill.lr_schedule` names. To add one: its
function, and its line in `SCHEDULES`."""

from __future__ import annotations

import math
from collections.abc import Callable

from meddistill.settings.distill import DistillConfig


def cosine_lr(step: int, total_steps: int, peak: float, warmup_share: float) -> float:
    """Step size at `step` of `total_steps`: a linear rise over the warm-up's share, then half a
    cosine down to 1 %.

    Args:
        step: from 0.
        total_steps: of the training.
        peak: largest step size.
        warmup_share: share of the steps in which it rises.
    """
    warmup = max(1, round(total_steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, total_steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def constant_lr(step: int, total_steps: int, peak: float, warmup_share: float) -> float:
    """Step size at `step` of `total_steps`: the same rise, then `peak` to the end.

    Args:
        step: from 0.
        total_steps: of the training.
        peak: largest step size.
        warmup_share: share of the steps in which it rises.
    """
    rising = step < max(1, round(total_steps * warmup_share))
    return cosine_lr(step, total_steps, peak, warmup_share) if rising else peak


SCHEDULES: dict[str, Callable[[int, int, float, float], float]] = {
    "cosine": cosine_lr,
    "constant": constant_lr,
}
"""Name -> from step, steps in all, peak and the warm-up's share to the step size."""


def scheduled_lr(step: int, total_steps: int, settings: DistillConfig) -> float:
    """Step size at `step` of `total_steps`, as the settings say."""
    schedule = SCHEDULES[settings.lr_schedule]
    return schedule(step, total_steps, settings.lr, settings.warmup_share)
