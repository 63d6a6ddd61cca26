"""A balance that is learned: a log-variance a level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddistill.training.weighting.weighting import LevelWeights, Weighting

LEARNED_MOST = 3.0


class LearnedWeighting(Weighting):
    """One learned log-variance s a level: base * exp(-s) * loss + log(1 + exp(s)), s clamped to
    +-3.

    It starts at s = 0, which is `fixed`. The penalty log(1 + sigma^2) stays positive, unlike
    log(sigma). Levels that are off have no penalty. Source: Kendall, Gal & Cipolla, CVPR 2018; the
    penalty of Liebel & Koerner, "Auxiliary Tasks in Multi-task Learning", 2018.
    """

    def __init__(
        self,
        mask: float,
        probability: float,
        feature: float,
        training_doubt: Tensor | None = None,
    ) -> None:
        super().__init__(mask, probability, feature)
        self.log_variances = nn.Parameter(torch.zeros(3))

    def forward(self, published_v: Tensor, doubt: Tensor) -> LevelWeights:
        s = self.log_variances.clamp(-LEARNED_MOST, LEARNED_MOST)
        every = torch.ones_like(doubt)
        mask, probability, feature = (
            base * torch.exp(-s[level]) * every for level, base in enumerate(self.base)
        )
        penalties = [
            F.softplus(s[level]) * every for level, base in enumerate(self.base) if base > 0
        ]
        penalty = torch.stack(penalties).sum(0) if penalties else torch.zeros_like(doubt)
        return LevelWeights(mask, probability, feature, penalty)
