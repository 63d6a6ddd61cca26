"""The optimiser, and its step size at every step."""

from __future__ import annotations

import math

import torch
from torch import nn

from meddistill.settings.distill import DistillConfig


def scheduled_lr(step: int, total_steps: int, settings: DistillConfig) -> float:
    """Step size at `step` of `total_steps`: the warm-up, then what `lr_schedule` says."""
    cosine = cosine_lr(step, total_steps, settings.lr, settings.warmup_share)
    warmup = max(1, round(total_steps * settings.warmup_share))
    return cosine if settings.lr_schedule == "cosine" or step < warmup else settings.lr


def cosine_lr(step: int, total_steps: int, peak: float, warmup_share: float) -> float:
    """Step size at `step` of `total_steps`: a linear rise over the warm-up's share, then half a
    cosine down to 1 %."""
    warmup = max(1, round(total_steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, total_steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def build_optimizer(model: nn.Module, settings: DistillConfig) -> torch.optim.Optimizer:
    """AdamW or Adam over all parameters of `model`, as the settings say."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=settings.lr, fused=True)
    # Norms and biases are not decayed: they are scales and offsets, not directions.
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, fused=True)
