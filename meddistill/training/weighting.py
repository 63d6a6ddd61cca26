"""How the levels of the loss are balanced, case by case. No weight depends on the other cases of a
batch.

A weighting is a module: from what is known of each case's target to the weights of its losses.
`published_v`: (B,) in [0, 1/4], the published scalar; `doubt`: (B,) in [0, 1], ours.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddistill.base.errors import ConfigError, nearest

PAPER_FEATURE_WEIGHT = 0.4
ULWR_STRENGTH = math.log(2)
ULWR_MOST_DEVIATIONS = 2.0
LEARNED_MOST = 3.0


class LevelWeights(NamedTuple):
    """Weights of one batch's losses by level, each (B,). `penalty`, (B,), is what is added to the
    loss."""

    mask: Tensor
    probability: Tensor
    feature: Tensor
    penalty: Tensor


class Weighting(nn.Module):
    """What all weightings share: the levels' base weights, 0 for a level that is off."""

    def __init__(self, mask: float, probability: float, feature: float) -> None:
        super().__init__()
        self.base = (mask, probability, feature)

    def forward(self, published_v: Tensor, doubt: Tensor) -> LevelWeights:
        raise NotImplementedError


class FixedWeighting(Weighting):
    """The base weights for every case: the control of every comparison."""

    def forward(self, published_v: Tensor, doubt: Tensor) -> LevelWeights:
        mask, probability, feature = (torch.full_like(doubt, level) for level in self.base)
        return LevelWeights(mask, probability, feature, torch.zeros_like(doubt))


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


class LearnedWeighting(Weighting):
    """One learned log-variance s a level: base * exp(-s) * loss + log(1 + exp(s)), s clamped to
    +-3.

    It starts at s = 0, which is `fixed`. The penalty log(1 + sigma^2) stays positive, unlike
    log(sigma). Levels that are off have no penalty. Source: Kendall, Gal & Cipolla, CVPR 2018; the
    penalty of Liebel & Koerner, "Auxiliary Tasks in Multi-task Learning", 2018.
    """

    def __init__(self, mask: float, probability: float, feature: float) -> None:
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
        doubt = training_doubt.double()
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


WEIGHTINGS = ("fixed", "paper", "learned", "ulwr")


def build_weighting(
    name: str, *, mask: float, probability: float, feature: float, training_doubt: Tensor
) -> Weighting:
    """The weighting called `name`. Raises: ConfigError with the nearest right name."""
    if name == "ulwr":
        return UlwrWeighting(mask, probability, feature, training_doubt)
    plain = {"fixed": FixedWeighting, "paper": PaperWeighting, "learned": LearnedWeighting}
    if name not in plain:
        raise ConfigError(f"weighting is '{name}'{nearest(name, WEIGHTINGS)}")
    return plain[name](mask, probability, feature)
