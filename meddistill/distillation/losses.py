"""What the student is told about one case, term by term. Every function returns one value a case, (B,).

No value depends on the other cases of its batch, so batch size, accumulation and ranks change nothing. All of it is
computed in float32, whatever precision the network ran in.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def confidence_from_uncertainty(uncertainty: Tensor, gamma: float) -> Tensor:
    """How far a pixel of the target is to be trusted: c = (1 - 4u)^gamma, in [0, 1].

    `uncertainty`: any shape, variance of a probability over the teacher's copies, 0 to 1/4. gamma 0 trusts every pixel.
    """
    return (1 - 4 * uncertainty.float()).clamp(0, 1) ** gamma


def soft_bce_loss(logits: Tensor, target_probs: Tensor, confidence: Tensor) -> Tensor:
    """Binary cross-entropy to the teacher's soft mask, trusting sure pixels more.

    Shape: all three (B, 1, H, W); `target_probs` and `confidence` in [0, 1]; confidence 0 silences a pixel.
    Returns (B,): the confidence-weighted mean over the pixels; 0 for a case without confidence. Its minimum is the
    target's entropy, not 0. Raises: ValueError if shapes differ.
    """
    _same_shape(logits, target_probs, confidence)
    per_pixel = F.binary_cross_entropy_with_logits(logits.float(), target_probs.float(), reduction="none")
    return _confident_mean(per_pixel, confidence)


def soft_dice_loss(logits: Tensor, target_probs: Tensor, confidence: Tensor) -> Tensor:
    """1 - Dice of two soft masks, in the form whose minimum is at p = q for soft targets, too.

    Shape: as `soft_bce_loss`. Returns (B,) in [0, 1]: with p the student's probabilities, q the target's and sums
    weighted by confidence, sum|p - q| / (sum p + sum q + 1). For a hard target this is 1 - the usual soft Dice; the
    usual one, 2 sum(pq) / (sum p + sum q), would push p to 0 or 1 where q is between. The 1 (a pixel) makes two empty
    masks a loss of 0. Source: Wang et al., "Dice Semimetric Losses", MICCAI 2023 (DML1).
    Raises: ValueError if shapes differ.
    """
    _same_shape(logits, target_probs, confidence)
    probs, target, sure = torch.sigmoid(logits.float()), target_probs.float(), confidence.float()
    difference = (sure * (probs - target).abs()).flatten(1).sum(1)
    return difference / ((sure * (probs + target)).flatten(1).sum(1) + 1)


def probability_mse_loss(logits: Tensor, target_probs: Tensor, confidence: Tensor) -> Tensor:
    """Squared error of the probabilities: the paper's second term (its confidence is 1 everywhere).

    Shape: as `soft_bce_loss`. Returns (B,) in [0, 1]. Raises: ValueError if shapes differ.
    """
    _same_shape(logits, target_probs, confidence)
    return _confident_mean((torch.sigmoid(logits.float()) - target_probs.float()) ** 2, confidence)


def cosine_feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine between the feature vectors of the two networks, mean over the grid.

    Shape: both (B, C, h, w), on the same grid. Returns (B,) in [0, 2]. Raises: ValueError if shapes differ.
    """
    _same_shape(student, teacher)
    return 1 - F.cosine_similarity(student.float(), teacher.float(), dim=1, eps=1e-6).flatten(1).mean(1)


def normalised_mse_feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error to the teacher's features, each position's vector brought to mean 0 and variance 1 first.

    Shape: both (B, C, h, w). Returns (B,), 1 for a student that says 0 everywhere; mean over channels and grid.
    Source: the "whitened" target of Wei et al., "Contrastive Learning Rivals Masked Image Modeling in Fine-tuning via
    Feature Distillation", 2022. Raises: ValueError if shapes differ.
    """
    _same_shape(student, teacher)
    teacher = teacher.float()
    deviation, mean = torch.std_mean(teacher, dim=1, keepdim=True, correction=0)
    return ((student.float() - (teacher - mean) / (deviation + 1e-6)) ** 2).flatten(1).mean(1)


def soft_dice_agreement(probs: Tensor, target_probs: Tensor) -> Tensor:
    """How well two soft masks agree, for choosing a checkpoint: 1 - sum|p - q| / (sum p + sum q).

    Shape: both (B, 1, H, W) in [0, 1]. Returns (B,) in [0, 1]; two masks that sum to less than a pixel agree fully.
    """
    _same_shape(probs, target_probs)
    probs, target = probs.float().flatten(1), target_probs.float().flatten(1)
    mass = probs.sum(1) + target.sum(1)
    agreement = 1 - (probs - target).abs().sum(1) / mass.clamp(min=1)
    return torch.where(mass < 1, torch.ones_like(agreement), agreement)


FEATURE_LOSSES = {"cosine": cosine_feature_loss, "mse": normalised_mse_feature_loss}


def _confident_mean(per_pixel: Tensor, confidence: Tensor) -> Tensor:
    confidence = confidence.float().flatten(1)
    return (per_pixel.flatten(1) * confidence).sum(1) / confidence.sum(1).clamp(min=1e-6)


def _same_shape(first: Tensor, *others: Tensor) -> None:
    for other in others:
        if other.shape != first.shape:
            raise ValueError(f"shapes differ: {tuple(first.shape)} and {tuple(other.shape)}")
