"""One training step's losses, on cached targets: nothing here knows of files, epochs or devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from meddistill.data.frames import Preprocessing, normalise
from meddistill.settings.distill import DistillConfig
from meddistill.student.networks.student_network import StudentNetwork
from meddistill.training.adapters import FeatureAdapters
from meddistill.training.known_losses import FEATURE_LOSSES, MASK_LOSSES
from meddistill.training.losses import (
    box_emptiness_loss,
    box_tightness_loss,
    confidence_from_uncertainty,
    probability_mse_loss,
    soft_dice_loss,
)
from meddistill.training.packed_cases import Batch
from meddistill.training.weighting.weighting import Weighting


class DistillLosses(NamedTuple):
    """Terms of one batch, each (B,); `total` is what is minimised, the terms are before their
    weights.

    `cross_entropy` is the soft BCE or its noise-robust form. `feature` and `prior` are 0 where the
    case is not the cached view; `cached` says where it is. The last three are the weights.
    """

    total: Tensor
    cross_entropy: Tensor
    dice: Tensor
    probability: Tensor
    feature: Tensor
    prior: Tensor
    cached: Tensor
    weight_mask: Tensor
    weight_probability: Tensor
    weight_feature: Tensor


class Seen(NamedTuple):
    """What the student makes of a batch: `logits` (B, C, S, S), `features` {level: in the teacher's
    shape}, empty where the feature level is off, and `deeper`: logits like the first, of the maps
    that deep supervision judges.
    """

    logits: Tensor
    features: dict[str, Tensor]
    deeper: list[Tensor]


class DistillModel(nn.Module):
    """All that learns: student, adapters and weighting in one module, so that one wrapper sees
    every parameter.

    `deep_supervision` adds a 1x1 convolution to one channel for each of the student's
    `deep_channels`; like the adapters they serve the training and are not part of the student.
    """

    def __init__(
        self,
        student: StudentNetwork,
        adapters: FeatureAdapters | None,
        weighting: Weighting,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.adapters = adapters
        self.weighting = weighting
        channels = student.deep_channels if deep_supervision else ()
        self.deep_heads = nn.ModuleList(
            nn.Conv2d(count, student.findings, kernel_size=1) for count in channels
        )

    def forward(self, frames: Tensor) -> Seen:
        """Normalised frames (B, 3, S, S) to what the losses compare."""
        if self.adapters is None and not self.deep_heads:
            return Seen(self.student(frames), {}, [])
        logits, maps, deep = self.student.forward_deep(frames)
        deeper = [
            head(each).float()
            for head, each in zip(self.deep_heads, deep[: len(self.deep_heads)], strict=True)
        ]
        return Seen(logits, self.adapters(maps) if self.adapters else {}, deeper)


def distill_step(
    model: Callable[[Tensor], Seen],
    weighting: Weighting,
    batch: Batch,
    cached_view: Tensor,
    preprocessing: Preprocessing,
    settings: DistillConfig,
) -> DistillLosses:
    """Forward pass and the losses of each case.

    Features and priors of cached views count 1 / `feature_share`, so that the expectation does not
    follow the share. Under deep supervision the mask-level terms are means over all heads (Zhou et
    al., "UNet++", 2018).

    Args:
        model: normalised frames (B, 3, S, S) to what the losses compare.
        weighting: of the levels.
        batch: images and targets.
        cached_view: (B,) bool, the cases drawn as the view that their features were computed on.
        preprocessing: of the images.
        settings: which losses, and their weights.
    """
    frames = normalise(batch.images, preprocessing).contiguous(memory_format=torch.channels_last)
    logits, maps, deeper = model(frames)
    sure = _confidence(batch, settings)
    probs = (batch.probs >= 0.5).float() if settings.hard_targets else batch.probs
    mask_loss = MASK_LOSSES[settings.mask_loss](settings)
    heads = (logits, *deeper)
    cross_entropy = torch.stack([_by_finding(mask_loss, each, probs, sure) for each in heads])
    dice = torch.stack([soft_dice_loss(each, probs, sure, batch.known) for each in heads])
    cross_entropy, dice = cross_entropy.mean(0), dice.mean(0)
    probability = _by_finding(probability_mse_loss, logits, probs, sure)
    cached = cached_view.float()
    feature = prior = torch.zeros_like(cached)
    if maps:
        compare = FEATURE_LOSSES[settings.feature_loss]
        compared = [compare(maps[level], batch.features[level]) for level in maps]
        feature = torch.stack(compared).mean(0) * cached
    if settings.prior_weight:
        boxes = batch.boxes_xyxy_px
        prior = (box_emptiness_loss(logits, boxes) + box_tightness_loss(logits, boxes)) * cached
    weights = weighting(batch.published_v, batch.doubt)
    total = (
        weights.mask * (cross_entropy + settings.dice_weight * dice)
        + weights.probability * probability
    )
    total = total + (
        weights.feature * feature[:, None] + settings.prior_weight * prior[:, None]
    ) / (settings.feature_share or 1.0)
    total = batch.case_weight * total + weights.penalty
    total, cross_entropy, dice, probability, *levels = (
        _over_known(term, batch.known)
        for term in (total, cross_entropy, dice, probability, *weights[:3])
    )
    return DistillLosses(total, cross_entropy, dice, probability, feature, prior, cached, *levels)


def _by_finding(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], logits: Tensor, probs: Tensor, sure: Tensor
) -> Tensor:
    """A loss of each finding's maps, (B, C), of three (B, C, S, S)."""
    maps = (each.flatten(0, 1)[:, None] for each in (logits, probs, sure))
    return loss(*maps).view(logits.shape[:2])


def _over_known(terms: Tensor, known: Tensor) -> Tensor:
    """Mean (B,) of terms (B, C) over the findings of which something is known: the others give no
    loss."""
    return (terms * known).sum(1) / known.sum(1).clamp(min=1)


def _confidence(batch: Batch, settings: DistillConfig) -> Tensor:
    """How far each pixel of the targets counts, (B, C, S, S) in [0, 1]."""
    sure = confidence_from_uncertainty(batch.uncertainty, settings.confidence_gamma)
    return sure if batch.pixel_weight is None else sure * batch.pixel_weight
