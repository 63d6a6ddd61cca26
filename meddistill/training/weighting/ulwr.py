"""Our balance: the more a case's mask is in doubt, the less it
counts and the more its features do."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from meddistill.training.weighting.weighting import LevelWeights, Weighting

ULWR_STRENGTH = math.log(2)
ULWR_MOST_DEVIATIONS = 2.0


class UlwrWeighting(Weighting):
    """Uncertainty-driven weights: the more the teacher doubts a case, the less its mask counts, the
    more its features.

    Derivation. Let the target of case i at a level be the truth with noise of variance s2_i;
    maximum likelihood then weights the case's loss by 1 / s2_i. Doubt d_i says how noisy the mask
    is, in units that no loss shares, so take it relative to the training set: z_i = (d_i - mean d)
    / deviation d, held to +-2, and let the logarithm of the mask's variance grow linearly with it:
    log s2_i = a z_i + const. The mask's weight is then proportional to exp(-a z_i). Feature maps
    come from the image alone, box or no box, so they lose nothing where the mask is in doubt; they
    take over what the mask gives up, proportional to exp(+a z_i). The constants are such that the
    mean over the training targets is 1 at each level: weight moves between cases and levels, none
    is created. With a = log 2 a weight is at most 4 / (mean of the factors) and at least 1/4 of it.

    Mean, deviation and constants are those of `training_doubt`, (N,), computed once: no batch, rank
    or epoch changes them. Where all cases are equally sure every factor is 1 and this is `fixed`.
    """

    def __init__(
        self, mask: float, probability: float, feature: float, training_doubt: Tensor
    ) -> None:
        super().__init__(mask, probability, feature)
        doubt = training_doubt.cpu().double()  # not every device has float64
        self.mean = float(doubt.mean()) if len(doubt) else 0.0
        self.deviation = float(doubt.std(correction=0)) if len(doubt) else 0.0
        self.mask_norm = self.feature_norm = 1.0
        less = self._less(doubt)
        if len(doubt):
            self.mask_norm, self.feature_norm = float(less.mean()), float((1 / less).mean())

    def _less(self, doubt: Tensor) -> Tensor:
        if self.deviation < 1e-6:
            return torch.ones_like(doubt)
        z = ((doubt - self.mean) / self.deviation).clamp(
            -ULWR_MOST_DEVIATIONS, ULWR_MOST_DEVIATIONS
        )
        return torch.exp(-ULWR_STRENGTH * z)

    def forward(self, published_v: Tensor, doubt: Tensor) -> LevelWeights:
        less = self._less(doubt)
        sure, instead = less / self.mask_norm, 1 / less / self.feature_norm
        mask, probability, feature = self.base
        return LevelWeights(
            mask * sure, probability * sure, feature * instead, torch.zeros_like(doubt)
        )
