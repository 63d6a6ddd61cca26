"""The moving average of a network's weights, which is what is kept of a training run."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """Exponential moving average of a module's parameters and buffers.

    The decay rises with the step t as min(decay, (1 + t) / (10 + t)), so that a short run does not keep its random
    start. Integer buffers (BatchNorm's counter) are copied. Source: the ramp of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, module: Network, decay: float) -> None:
        self.module: Network = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards `module`, which has the same tensors in the same order."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.decay else 0.0
        self.steps += 1
        ours, theirs = _tensors(self.module), _tensors(module)
        floats = [index for index, tensor in enumerate(ours) if tensor.is_floating_point()]
        torch._foreach_lerp_([ours[i] for i in floats], [theirs[i] for i in floats], 1 - decay)
        for index in set(range(len(ours))) - set(floats):
            ours[index].copy_(theirs[index])


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
