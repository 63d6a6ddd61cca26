"""Lesions one by one: 8-connected components of a mask, matched between prediction and truth, or
cleaned up."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from meddistill.evaluation.metrics import box_around

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclasses.dataclass(frozen=True, slots=True)
class LesionCounts:
    """True lesions `found` and `missed`, and predicted ones that are `false`, of one case or summed
    over several."""

    found: int
    missed: int
    false: int

    @property
    def f1(self) -> float:
        """2 found / (2 found + missed + false); 1 where there is nothing to find and nothing
        was.
        """
        whole = 2 * self.found + self.missed + self.false
        return 2 * self.found / whole if whole else 1.0


def match_lesions(pred: np.ndarray, target: np.ndarray, *, min_iou: float = 0.1) -> LesionCounts:
    """Which components of two boolean masks (H, W) are the same lesion.

    One to one, the largest overlap first: a true lesion is found if the predicted component that it
    is paired with has an IoU of at least `min_iou` with it. Two lesions under one predicted
    component are one found, one missed.
    """
    either = pred | target
    if not either.any():
        return LesionCounts(0, 0, 0)
    box = box_around(either)
    pred_labels, n_pred = ndimage.label(pred[box], _EIGHT_NEIGHBOURS)
    true_labels, n_true = ndimage.label(target[box], _EIGHT_NEIGHBOURS)
    pairs = true_labels.ravel() * (n_pred + 1) + pred_labels.ravel()
    shared = np.bincount(pairs, minlength=(n_true + 1) * (n_pred + 1)).reshape(
        n_true + 1, n_pred + 1
    )
    true_areas, pred_areas = shared.sum(axis=1)[1:], shared.sum(axis=0)[1:]
    overlap = shared[1:, 1:]
    iou = overlap / (true_areas[:, None] + pred_areas[None] - overlap)
    found = 0
    while iou.size and iou.max() >= min_iou and iou.max() > 0:
        row, column = np.unravel_index(iou.argmax(), iou.shape)
        iou[row], iou[:, column] = 0, 0
        found += 1
    return LesionCounts(found=found, missed=n_true - found, false=n_pred - found)


def clean_up(
    mask: np.ndarray, *, min_component_px: int = 0, keep_largest: bool = False
) -> np.ndarray:
    """The boolean mask (H, W) without components below `min_component_px`, or with the largest
    alone (the first in reading order of equals). An empty mask stays empty.
    """
    if not (min_component_px > 1 or keep_largest):
        return mask
    labels, count = ndimage.label(mask, _EIGHT_NEIGHBOURS)
    if count == 0:
        return mask
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    keep = areas >= max(min_component_px, 1)
    if keep_largest:
        keep &= np.arange(areas.size) == areas.argmax()
    kept: np.ndarray = keep[labels]
    return kept
