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
    iou = _overlaps(_numbered(target[box]), _numbered(pred[box]))
    n_true, n_pred = iou.shape
    found = len(_pairs(iou, min_iou))
    return LesionCounts(found=found, missed=n_true - found, false=n_pred - found)


def score_lesions(
    pred: np.ndarray, probs: np.ndarray, target: np.ndarray, *, min_iou: float = 0.1
) -> list[tuple[float, bool]]:
    """Of each component of a boolean mask (H, W) the mean of its probabilities (H, W), and whether it
    is a true lesion, matched as `match_lesions` does."""
    if not pred.any():
        return []
    labels, count = _numbered(pred)
    hits = {column for _, column in _pairs(_overlaps(_numbered(target), (labels, count)), min_iou)}
    means = ndimage.mean(probs, labels, np.arange(1, count + 1))
    return [(float(mean), place in hits) for place, mean in enumerate(means)]


def confuse_lesions(pred: np.ndarray, target: np.ndarray, *, min_iou: float = 0.1) -> np.ndarray:
    """Which finding each lesion was found as: counts int64 (C + 1, C + 1) of lesions of one finding
    (rows) found as another (columns).

    Masks are bool (C, H, W). The last column counts lesions that were not found, the last row what
    was found where nothing is. Matched as in `match_lesions`, within a finding first, so that the
    diagonal is its count; what is left over is matched across findings.
    """
    count = len(target)
    table = np.zeros((count + 1, count + 1), dtype=np.int64)
    either = (pred | target).any(axis=0)
    if not either.any():
        return table
    box = box_around(either)
    true, found = ([_numbered(plane[box]) for plane in planes] for planes in (target, pred))
    of_true, of_found = (
        np.repeat(np.arange(count), [highest for _, highest in parts]) for parts in (true, found)
    )
    iou = np.block([[_overlaps(one, other) for other in found] for one in true])
    same = of_true[:, None] == of_found[None]
    pairs = _pairs(np.where(same, iou, 0), min_iou)
    for row, column in pairs:
        iou[row], iou[:, column] = 0, 0
    pairs += _pairs(np.where(same, 0, iou), min_iou)
    for row, column in pairs:
        table[of_true[row], of_found[column]] += 1
    rows, columns = ({pair[side] for pair in pairs} for side in (0, 1))
    for place in range(count):
        table[place, count] = sum(row not in rows for row in np.flatnonzero(of_true == place))
        table[count, place] = sum(each not in columns for each in np.flatnonzero(of_found == place))
    return table


_Numbered = tuple[np.ndarray, int]
"""A mask's components numbered from 1, (H, W), and how many they are."""


def _numbered(mask: np.ndarray) -> _Numbered:
    labels, count = ndimage.label(mask, _EIGHT_NEIGHBOURS)
    return labels, int(count)


def _overlaps(true: _Numbered, pred: _Numbered) -> np.ndarray:
    """IoU float64 (n_true, n_pred) of the components of two masks."""
    (true_labels, n_true), (pred_labels, n_pred) = true, pred
    if not (n_true and n_pred):
        return np.zeros((n_true, n_pred))
    pairs = true_labels.ravel() * (n_pred + 1) + pred_labels.ravel()
    shared = np.bincount(pairs, minlength=(n_true + 1) * (n_pred + 1)).reshape(
        n_true + 1, n_pred + 1
    )
    true_areas, pred_areas = shared.sum(axis=1)[1:], shared.sum(axis=0)[1:]
    overlap = shared[1:, 1:]
    iou: np.ndarray = overlap / (true_areas[:, None] + pred_areas[None] - overlap)
    return iou


def _pairs(iou: np.ndarray, min_iou: float) -> list[tuple[int, int]]:
    """Rows and columns that belong together, one to one, the largest overlap first."""
    left, pairs = iou.copy(), []
    while left.size and left.max() >= min_iou and left.max() > 0:
        row, column = np.unravel_index(left.argmax(), left.shape)
        left[row], left[:, column] = 0, 0
        pairs.append((int(row), int(column)))
    return pairs


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
