"""The moving average of a network's weights, which is what is kept of a training run."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """Exponential moving average of a module's parameters and buffers.

    The decay rises with the step t as min(decay, (1 + t) / (10 + t)), so that a short run does not
    keep its random start. Integer buffers (BatchNorm's counter) are copied. Source: the ramp of
    TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, module: Network, decay: float) -> None:
        self.module: Network = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0
        self._followed: nn.Module | None = None
        self._floats: _Pairs = ([], [])
        self._others: _Pairs = ([], [])

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards `module`, which has the same tensors in the same order, and
        keeps them."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.decay else 0.0
        self.steps += 1
        if (
            module is not self._followed
        ):  # walking through hundreds of layers takes longer than the update
            self._followed = module
            pairs = list(zip(_tensors(self.module), _tensors(module), strict=True))
            self._floats = _unzip([pair for pair in pairs if pair[0].is_floating_point()])
            self._others = _unzip([pair for pair in pairs if not pair[0].is_floating_point()])
        torch._foreach_lerp_(*self._floats, 1 - decay)
        if self._others[0]:
            torch._foreach_copy_(*self._others)


_Pairs = tuple[list[Tensor], list[Tensor]]


def _unzip(pairs: list[tuple[Tensor, Tensor]]) -> _Pairs:
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
