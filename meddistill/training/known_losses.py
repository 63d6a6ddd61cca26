"""The losses that settings name. To add one: its function in `losses`, and its line here."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor

from meddistill.settings.distill import DistillConfig
from meddistill.training.losses import (
    cosine_feature_loss,
    generalised_cross_entropy_loss,
    normalised_mse_feature_loss,
    soft_bce_loss,
)

MaskLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits, target probabilities and confidence, each (B, 1, H, W), to (B,)."""
FeatureLoss = Callable[[Tensor, Tensor], Tensor]
"""Features of student and teacher, both (B, C, h, w), to (B,)."""

MASK_LOSSES: dict[str, Callable[[DistillConfig], MaskLoss]] = {
    "bce": lambda settings: soft_bce_loss,
    "gce": lambda settings: functools.partial(generalised_cross_entropy_loss, q=settings.gce_q),
}
"""`distill.mask_loss` -> from the settings to the cross-entropy beside soft Dice."""
FEATURE_LOSSES: dict[str, FeatureLoss] = {
    "cosine": cosine_feature_loss,
    "mse": normalised_mse_feature_loss,
}
"""`distill.feature_loss` -> the loss."""
