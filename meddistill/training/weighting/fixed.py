"""No balance but the settings'."""

from __future__ import annotations

import torch
from torch import Tensor

from meddistill.training.weighting.weighting import LevelWeights, Weighting


class FixedWeighting(Weighting):
    """The base weights for every case: the control of every comparison."""

    def forward(self, published_v: Tensor, doubt: Tensor) -> LevelWeights:
        mask, probability, feature = (torch.full_like(doubt, level) for level in self.base)
        return LevelWeights(mask, probability, feature, torch.zeros_like(doubt))
