"""The optimisers that `distill.optimizer` names. To add one: its function, and its line in
`OPTIMIZERS`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from meddistill.settings.distill import DistillConfig


def adam(model: nn.Module, settings: DistillConfig) -> torch.optim.Optimizer:
    """Adam, without decay."""
    return torch.optim.Adam(model.parameters(), lr=settings.lr, fused=True)


def adamw(model: nn.Module, settings: DistillConfig) -> torch.optim.Optimizer:
    """AdamW."""
    # Norms and biases are not decayed: they are scales and offsets, not directions.
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, fused=True)


OPTIMIZERS: dict[str, Callable[[nn.Module, DistillConfig], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "adam": adam,
}


def build_optimizer(model: nn.Module, settings: DistillConfig) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over all parameters of `model`."""
    return OPTIMIZERS[settings.optimizer](model, settings)
