"""The published balance: by the spatial variance of the teacher's mask."""

from __future__ import annotations

import torch
from torch import Tensor

from meddistill.training.weighting.weighting import LevelWeights, Weighting

PAPER_FEATURE_WEIGHT = 0.4


def paper_weights(published_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The published weights of mask, probability and feature loss: 1/(v + 1e-6), sigmoid(1 - v),
    0.4 over their sum.

    Shape: (B,) to three of (B,). v in [0, 1/4] is the spatial variance of the teacher's probability
    map. At v = 0.01 the raw weights are 99.99, sigmoid(0.99) = 0.7291 and 0.4, their sum 101.12,
    the weights 0.9888, 0.0072 and 0.0040. For a near-binary mask v = f(1 - f), f the foreground's
    share: the rule follows lesion size, not doubt. Their code adds 0.1 * sum((w - mean w)^2), which
    has no gradient and is left out. Source: MedDistill (Guo, Shen, Gao, Wang), the authors' code of
    July 2025, which does it for batches of one.
    """
    mask, probability = 1 / (published_v + 1e-6), torch.sigmoid(1 - published_v)
    feature = torch.full_like(published_v, PAPER_FEATURE_WEIGHT)
    total = mask + probability + feature
    return mask / total, probability / total, feature / total


class PaperWeighting(Weighting):
    """`paper_weights` in place of the base weights; a level whose base weight is 0 stays off."""

    def forward(self, published_v: Tensor, doubt: Tensor) -> LevelWeights:
        weights = paper_weights(published_v)
        mask, probability, feature = (
            w * float(base > 0) for w, base in zip(weights, self.base, strict=True)
        )
        return LevelWeights(mask, probability, feature, torch.zeros_like(doubt))
