"""From a soft mask to the boxes that it proposes."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

LEAST_MASS_SHARE = 0.5
"""A component with less than this share of the largest one's probability mass is no proposal."""
MOST_BOXES = 5
LEAST_SHARE = 0.0005
"""Share of the frame below which a component is no proposal."""
NO_BOX = np.zeros((0, 4), np.float32)
_EIGHT_NEIGHBOURS = np.ones((3, 3))


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Boxes (N, 4) float32 px of the map's frame, N >= 1, and how sure the map is of them: mean
    probability inside the components, in [0, 1]. `mask`: bool (S, S), their pixels."""

    boxes_xyxy_px: np.ndarray
    confidence: float
    mask: np.ndarray


def propose(probs: np.ndarray, threshold: float, least_px: float) -> Proposal | None:
    """The 8-connected components of `probs` (S, S) float32 above `threshold` that hold most of its
    mass.

    Components below `least_px` pixels are none. None where nothing is left: an empty map.
    """
    labels, count = ndimage.label(probs > threshold, _EIGHT_NEIGHBOURS)
    if not count:
        return None
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    mass = np.bincount(labels.ravel(), weights=probs.ravel(), minlength=count + 1)
    mass[0] = 0
    mass[areas < least_px] = 0
    by_mass = np.argsort(-mass, kind="stable")[:MOST_BOXES]
    if not mass.max():
        return None
    kept = [label for label in by_mass if mass[label] >= LEAST_MASS_SHARE * mass.max()]
    places = ndimage.find_objects(labels)
    boxes = []
    for label in kept:
        rows, columns = places[label - 1]
        boxes.append((columns.start, rows.start, columns.stop, rows.stop))
    mask = np.isin(labels, kept)
    return Proposal(np.array(boxes, np.float32), float(probs[mask].mean()), mask)
