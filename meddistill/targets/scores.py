"""What is measured on a teacher's answer when no true mask is there to compare with."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

_STABILITY_OFFSET = 1.0


@dataclasses.dataclass(frozen=True)
class Scores:
    """What is measured on the teacher's answer to one case. All but `predicted_iou` (may exceed 1)
    lie in [0, 1].

    `v`: the published scalar, spatial variance of each plain box's probability map, mean over
    boxes; for a near-binary mask it is f(1 - f) of the foreground share f, so it follows the
    lesion's size. `agreement`: mean IoU of the copies' masks with the mean mask. `stability`: IoU
    of the masks at logits above +1 and above -1. `predicted_iou`: the teacher's own estimate, mean
    over boxes and copies. `box_iou`: IoU of each mask's bounding box with its prompt, mean over
    boxes. `area_share`: share of the image that is lesion.
    """

    v: float = 0.0
    agreement: float = 1.0
    stability: float = 1.0
    predicted_iou: float = 1.0
    box_iou: float = 1.0
    area_share: float = 0.0


def mask_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of boolean masks (..., h, w); two empty masks give 1. Returns (...,)."""
    intersection = (first & second).sum((-2, -1)).float()
    union = (first | second).sum((-2, -1)).float()
    return torch.where(union > 0, intersection / union.clamp(min=1), torch.ones_like(union))


def stability(logits: Tensor) -> float:
    """IoU of the masks at logits above +1 and above -1, mean over the maps (N, h, w); SAM's
    stability score."""
    inner = (logits > _STABILITY_OFFSET).sum((-2, -1)).float()
    outer = (logits > -_STABILITY_OFFSET).sum((-2, -1)).float()
    return float(torch.where(outer > 0, inner / outer.clamp(min=1), torch.zeros_like(outer)).mean())


def box_ious_of_masks(masks: Tensor, boxes_xyxy: Tensor) -> list[float]:
    """IoU of each mask's bounding box with its prompt; 0 of an empty mask.

    `masks`: boolean (N, H, W); `boxes_xyxy`: (N, 4) px in the same frame, half-open.
    """
    values = []
    for mask, box in zip(masks, boxes_xyxy.tolist(), strict=True):
        rows, columns = torch.nonzero(mask.any(1)).flatten(), torch.nonzero(mask.any(0)).flatten()
        if len(rows) == 0:
            values.append(0.0)
            continue
        x1, y1, x2, y2 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        overlap_w = max(0.0, min(x2, box[2]) - max(x1, box[0]))
        overlap_h = max(0.0, min(y2, box[3]) - max(y1, box[1]))
        overlap = overlap_w * overlap_h
        union = (x2 - x1) * (y2 - y1) + (box[2] - box[0]) * (box[3] - box[1]) - overlap
        values.append(overlap / union)
    return values
