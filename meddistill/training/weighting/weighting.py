"""What a weighting is: a module, from what is known of each case's target to the weights of its
losses. No weight depends on the other cases of a batch.

`published_v`: (B,) in [0, 1/4], the published scalar; `doubt`: (B,) in [0, 1], ours.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class LevelWeights(NamedTuple):
    """Weights of one batch's losses by level, each (B,). `penalty`, (B,), is what is added to the
    loss."""

    mask: Tensor
    probability: Tensor
    feature: Tensor
    penalty: Tensor


class Weighting(nn.Module):
    """What all weightings share: the levels' base weights, 0 for a level that is off.

    `training_doubt`: (N,), that of all training targets, for a weighting that takes its scale from
    them.
    """

    def __init__(
        self,
        mask: float,
        probability: float,
        feature: float,
        training_doubt: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.base = (mask, probability, feature)

    def forward(self, published_v: Tensor, doubt: Tensor) -> LevelWeights:
        raise NotImplementedError
