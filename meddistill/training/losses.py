"""What the student is told about one case, term by term. Every function returns one value a case,
(B,), the Dice loss one a case and finding, (B, C).

No value depends on the other cases of its batch, so batch size, accumulation and ranks change
nothing. All of it is computed in float32, whatever precision the network ran in.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_OUTSIDE_LOGIT = -30.0


def confidence_from_uncertainty(uncertainty: Tensor, gamma: float) -> Tensor:
    """How far a pixel of the target is to be trusted: c = (1 - 4u)^gamma, in [0, 1].

    `uncertainty`: any shape, variance of a probability over the teacher's copies, 0 to 1/4. gamma 0
    trusts every pixel.
    """
    return (1 - 4 * uncertainty.float()).clamp(0, 1) ** gamma


def soft_bce_loss(logits: Tensor, target_probs: Tensor, confidence: Tensor) -> Tensor:
    """Binary cross-entropy to the teacher's soft mask, trusting sure pixels more.

    Shape: all three (B, 1, H, W); `target_probs` and `confidence` in [0, 1]; confidence 0 silences
    a pixel. Returns (B,): the confidence-weighted mean over the pixels; 0 for a case without
    confidence. Its minimum is the target's entropy, not 0. Raises: ValueError if shapes differ.
    """
    _same_shape(logits, target_probs, confidence)
    per_pixel = F.binary_cross_entropy_with_logits(
        logits.float(), target_probs.float(), reduction="none"
    )
    return _confident_mean(per_pixel, confidence)


def soft_dice_loss(
    logits: Tensor, target_probs: Tensor, confidence: Tensor, known: Tensor | None = None
) -> Tensor:
    """1 - Dice of two soft masks of each finding, in the form whose minimum is at p = q for soft
    targets, too: with p the student's probabilities, q the target's and sums weighted by confidence,
    sum|p - q| / (sum p + sum q + 1).

    For a hard target this is 1 - the usual soft Dice; the usual one, 2 sum(pq) / (sum p + sum q),
    would push p to 0 or 1 where q is between. The 1 (a pixel) makes two empty masks a loss of 0.
    What the student sees of a finding that the case does not show is held against sum p + sum q of
    all findings in it: against its own alone, a student that sees next to nothing of a rare finding
    would be pushed to nothing by all cases without it, and stay there. In a case that shows none, each
    stands by itself, as one finding does: sharing, C of them would count as one false alarm.

    Source: Wang et al., "Dice Semimetric Losses", MICCAI 2023 (DML1). Returns (B, C) in [0, 1].
    Raises: ValueError if shapes differ.

    Args:
        logits: (B, C, H, W).
        target_probs: likewise, in [0, 1].
        confidence: likewise, in [0, 1]; 0 silences a pixel.
        known: (B, C), whether something is known of the finding in the case; all, if not given.
    """
    _same_shape(logits, target_probs, confidence)
    probs, target, sure = torch.sigmoid(logits.float()), target_probs.float(), confidence.float()
    shape = logits.shape[:2]
    difference = (sure * (probs - target).abs()).flatten(0, 1).flatten(1).sum(1).view(shape)
    mass = (sure * (probs + target)).flatten(0, 1).flatten(1).sum(1).view(shape)
    of_all = mass if known is None else mass * known
    shown = (sure * target).flatten(2).sum(2) >= 1
    by_itself = shown | ~shown.any(1, keepdim=True)
    return difference / (torch.where(by_itself, mass, of_all.sum(1, keepdim=True)) + 1)


def generalised_cross_entropy_loss(
    logits: Tensor, target_probs: Tensor, confidence: Tensor, q: float = 0.7
) -> Tensor:
    """Cross-entropy that gives up on targets it cannot fit: t (1 - p^q) / q + (1 - t)(1 - (1 -
    p)^q) / q.

    Shape: as `soft_bce_loss`; q in (0, 1]: near 0 it is cross-entropy, at 1 the absolute error,
    least moved by noise. Returns (B,) in [0, 1/q]. Source: Zhang & Sabuncu, "Generalized Cross
    Entropy Loss", NeurIPS 2018, here with a soft target t as the mean over its two classes. Raises:
    ValueError if shapes differ.

    Args:
        logits: (B, 1, H, W).
        target_probs: likewise, in [0, 1].
        confidence: likewise, in [0, 1]; 0 silences a pixel.
        q: in (0, 1].
    """
    _same_shape(logits, target_probs, confidence)
    target = target_probs.float()
    # p^q as exp(q log p): the logarithm of a sigmoid is exact where p itself is rounded to 0.
    lesion = -torch.expm1(q * F.logsigmoid(logits.float())) / q
    background = -torch.expm1(q * F.logsigmoid(-logits.float())) / q
    return _confident_mean(target * lesion + (1 - target) * background, confidence)


def probability_mse_loss(logits: Tensor, target_probs: Tensor, confidence: Tensor) -> Tensor:
    """Squared error of the probabilities: the paper's second term (its confidence is 1 everywhere).

    Shape: as `soft_bce_loss`. Returns (B,) in [0, 1]. Raises: ValueError if shapes differ.
    """
    _same_shape(logits, target_probs, confidence)
    return _confident_mean((torch.sigmoid(logits.float()) - target_probs.float()) ** 2, confidence)


def cosine_feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine between the feature vectors of the two networks, mean over the grid.

    Shape: both (B, C, h, w), on the same grid. Returns (B,) in [0, 2]. Raises: ValueError if shapes
    differ.
    """
    _same_shape(student, teacher)
    return 1 - F.cosine_similarity(student.float(), teacher.float(), dim=1, eps=1e-6).flatten(
        1
    ).mean(1)


def normalised_mse_feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error to the teacher's features, each position's vector brought to mean 0 and
    variance 1 first.

    Shape: both (B, C, h, w). Returns (B,), 1 for a student that says 0 everywhere; mean over
    channels and grid. Source: the "whitened" target of Wei et al., "Contrastive Learning Rivals
    Masked Image Modeling in Fine-tuning via Feature Distillation", 2022. Raises: ValueError if
    shapes differ.
    """
    _same_shape(student, teacher)
    teacher = teacher.float()
    deviation, mean = torch.std_mean(teacher, dim=1, keepdim=True, correction=0)
    return ((student.float() - (teacher - mean) / (deviation + 1e-6)) ** 2).flatten(1).mean(1)


def soft_dice_agreement(probs: Tensor, target_probs: Tensor) -> Tensor:
    """How well two soft masks agree, for choosing a checkpoint: 1 - sum|p - q| / (sum p + sum q).

    Shape: both (B, 1, H, W) in [0, 1]. Returns (B,) in [0, 1]; two masks that sum to less than a
    pixel agree fully.
    """
    _same_shape(probs, target_probs)
    probs, target = probs.float().flatten(1), target_probs.float().flatten(1)
    mass = probs.sum(1) + target.sum(1)
    agreement = 1 - (probs - target).abs().sum(1) / mass.clamp(min=1)
    return torch.where(mass < 1, torch.ones_like(agreement), agreement)


def box_emptiness_loss(logits: Tensor, boxes_xyxy_px: Tensor) -> Tensor:
    """Nothing outside the boxes: mean of -log(1 - p) over the pixels that no box covers.

    Shape: logits (B, 1, S, S); boxes (B, K, 4) px of the frame, half-open, rows of NaN where a case
    has fewer. Returns (B,) >= 0; 0 for a case without a box, of which nothing is known. Source: the
    emptiness constraint of Kervadec et al., "Bounding boxes for weakly supervised segmentation",
    MIDL 2020.
    """
    in_x, in_y = _box_lines(boxes_xyxy_px, logits.shape[-1])
    inside = (in_y[:, :, :, None] & in_x[:, :, None, :]).any(1)
    outside = (~inside & in_x.flatten(1).any(1)[:, None, None]).float().flatten(1)
    per_pixel = F.softplus(logits.float()).flatten(1)
    return (per_pixel * outside).sum(1) / outside.sum(1).clamp(min=1)


def box_tightness_loss(logits: Tensor, boxes_xyxy_px: Tensor) -> Tensor:
    """Every row and column of a box is touched: mean over its lines of -log(largest p on the line
    inside the box).

    Shape and empties: as `box_emptiness_loss`. For upright frames and tight boxes only. Source: the
    tightness prior of Hsu et al., "Weakly supervised instance segmentation using the bounding box
    tightness prior", NeurIPS 2019.
    """
    in_x, in_y = _box_lines(boxes_xyxy_px, logits.shape[-1])
    inside = in_y[:, :, :, None] & in_x[:, :, None, :]
    masked = torch.where(inside, logits.float().expand(-1, inside.shape[1], -1, -1), _OUTSIDE_LOGIT)
    rows, columns = F.softplus(-masked.amax(3)) * in_y, F.softplus(-masked.amax(2)) * in_x
    lines = in_x.flatten(1).sum(1) + in_y.flatten(1).sum(1)
    return (rows.flatten(1).sum(1) + columns.flatten(1).sum(1)) / lines.clamp(min=1)


def _box_lines(boxes_xyxy_px: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Which columns and rows each box covers by their middle: two bool (B, K, S); none for a row of
    NaN."""
    middle = torch.arange(side, device=boxes_xyxy_px.device) + 0.5
    x1, y1, x2, y2 = boxes_xyxy_px[..., None].unbind(2)
    return (x1 <= middle) & (middle < x2), (y1 <= middle) & (middle < y2)


def _confident_mean(per_pixel: Tensor, confidence: Tensor) -> Tensor:
    confidence = confidence.float().flatten(1)
    return (per_pixel.flatten(1) * confidence).sum(1) / confidence.sum(1).clamp(min=1e-6)


def _same_shape(first: Tensor, *others: Tensor) -> None:
    for other in others:
        if other.shape != first.shape:
            raise ValueError(f"shapes differ: {tuple(first.shape)} and {tuple(other.shape)}")
