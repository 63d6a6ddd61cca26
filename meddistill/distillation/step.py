"""One training step's losses, on cached targets: nothing here knows of files, epochs or devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from meddistill.config import DistillConfig
from meddistill.data.dataset import Batch
from meddistill.data.frames import Preprocessing, normalise
from meddistill.distillation.features import FeatureAdapters
from meddistill.distillation.losses import (
    FEATURE_LOSSES,
    confidence_from_uncertainty,
    probability_mse_loss,
    soft_bce_loss,
    soft_dice_loss,
)
from meddistill.distillation.weighting import Weighting
from meddistill.models.network import StudentNetwork


class DistillLosses(NamedTuple):
    """Terms of one batch, each (B,); `total` is what is minimised, the terms are before their weights.

    `feature` is 0 where the case is not the cached view; `cached` says where it is. The last three are the weights.
    """

    total: Tensor
    bce: Tensor
    dice: Tensor
    probability: Tensor
    feature: Tensor
    cached: Tensor
    weight_mask: Tensor
    weight_probability: Tensor
    weight_feature: Tensor


class DistillModel(nn.Module):
    """Student and adapters behind one `forward`, so that one wrapper (DDP, compile) sees every parameter in use."""

    def __init__(self, student: StudentNetwork, adapters: FeatureAdapters | None) -> None:
        super().__init__()
        self.student = student
        self.adapters = adapters

    def forward(self, frames: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Normalised frames (B, 3, S, S) to logits (B, 1, S, S) and {level: features in the teacher's shape}."""
        if self.adapters is None:
            return self.student(frames), {}
        logits, maps = self.student.forward_with_features(frames)
        return logits, self.adapters(maps)


def distill_step(
    model: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]],
    batch: Batch,
    cached_view: Tensor,
    preprocessing: Preprocessing,
    weighting: Weighting,
    settings: DistillConfig,
) -> DistillLosses:
    """Forward pass and the losses of each case.

    `cached_view`: (B,) bool, the cases drawn as the view that their features were computed on. Their feature loss
    counts 1 / `feature_share`, so that its expectation does not follow the share.
    """
    frames = normalise(batch.images, preprocessing).contiguous(memory_format=torch.channels_last)
    logits, maps = model(frames)
    sure = confidence_from_uncertainty(batch.uncertainty, settings.confidence_gamma)
    bce = soft_bce_loss(logits, batch.probs, sure)
    dice = soft_dice_loss(logits, batch.probs, sure)
    probability = probability_mse_loss(logits, batch.probs, sure)
    cached = cached_view.float()
    feature = torch.zeros_like(bce)
    if maps:
        compare = FEATURE_LOSSES[settings.feature_loss]
        feature = torch.stack([compare(maps[level], batch.features[level]) for level in maps]).mean(0) * cached
    weights = weighting(batch.published_v, batch.doubt)
    total = weights.mask * (bce + settings.dice_weight * dice) + weights.probability * probability
    if maps:
        total = total + weights.feature * feature / settings.feature_share
    return DistillLosses(batch.case_weight * total, bce, dice, probability, feature, cached, *weights)
