"""How the levels of the loss are balanced, case by case. No weight depends on the other cases of a batch."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

PAPER_FEATURE_WEIGHT = 0.4


class LevelWeights(NamedTuple):
    """Weights of one batch's losses by level, each (B,)."""

    mask: Tensor
    probability: Tensor
    feature: Tensor


class Weighting(Protocol):
    """From what is known of each case to the weights of its losses.

    `published_v`: (B,) in [0, 1/4], the published scalar; `doubt`: (B,) >= 0, ours. Both of the target, never of the
    batch.
    """

    def __call__(self, published_v: Tensor, doubt: Tensor) -> LevelWeights: ...


class FixedWeighting:
    """The same weights for every case: the control of every comparison."""

    def __init__(self, mask: float, probability: float, feature: float) -> None:
        self.levels = (mask, probability, feature)

    def __call__(self, published_v: Tensor, doubt: Tensor) -> LevelWeights:
        return LevelWeights(*(torch.full_like(published_v, level) for level in self.levels))


def paper_weights(published_v: Tensor) -> LevelWeights:
    """The published uncertainty weights of one case each: 1/(v + 1e-6), sigmoid(1 - v) and 0.4, divided by their sum.

    v, (B,) in [0, 1/4], is the spatial variance of the teacher's probability map. At v = 0.01 the three raw weights
    are 99.99, sigmoid(0.99) = 0.7291 and 0.4, their sum 101.12, the weights 0.9888, 0.0072 and 0.0040. For a
    near-binary mask v = f(1 - f), f the foreground's share: the rule follows lesion size, not doubt. The published
    code adds 0.1 * sum((w - mean w)^2), which has no gradient and is left out.
    Source: MedDistill (Guo, Shen, Gao, Wang), the authors' code of July 2025, which does it for batches of one.
    """
    raw = torch.stack(
        [1 / (published_v + 1e-6), torch.sigmoid(1 - published_v), torch.full_like(published_v, PAPER_FEATURE_WEIGHT)]
    )
    return LevelWeights(*(raw / raw.sum(0)))


class PaperWeighting:
    """`paper_weights`, with levels that are switched off (weight 0) left at 0."""

    def __init__(self, mask: float, probability: float, feature: float) -> None:
        self.on = (mask > 0, probability > 0, feature > 0)

    def __call__(self, published_v: Tensor, doubt: Tensor) -> LevelWeights:
        weights = paper_weights(published_v)
        return LevelWeights(*(w if on else torch.zeros_like(w) for w, on in zip(weights, self.on, strict=True)))
