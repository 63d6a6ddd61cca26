"""From a soft mask to the boxes that it proposes."""

from __future__ import annotations

import dataclasses

import numpy as np

from meddistill.data.formats.pictures import connected_components

LEAST_MASS_SHARE = 0.5
"""A component with less than this share of the largest one's probability mass is no proposal."""
MOST_BOXES = 5


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Boxes (N, 4) float32 px of the map's frame, N >= 1, and how sure the map is of them: mean
    probability inside the components, in [0, 1]. `mask`: bool (S, S), their pixels."""

    boxes_xyxy_px: np.ndarray
    confidence: float
    mask: np.ndarray


def propose(probs: np.ndarray, threshold: float, least_px: float) -> Proposal | None:
    """The components of `probs` (S, S) float32 above `threshold` that hold most of its mass.

    Components below `least_px` pixels are none. None where nothing is left: an empty map.
    """
    over = probs > threshold
    boxes, areas = connected_components(over)
    found = []
    for (x1, y1, x2, y2), area in zip(boxes.tolist(), areas.tolist(), strict=True):
        inside = over[y1:y2, x1:x2]
        if area >= least_px:
            found.append((float(probs[y1:y2, x1:x2][inside].sum()), (x1, y1, x2, y2)))
    found.sort(reverse=True)
    kept = [box for mass, box in found[:MOST_BOXES] if mass >= LEAST_MASS_SHARE * found[0][0]]
    if not kept:
        return None
    mask = np.zeros_like(over)
    for x1, y1, x2, y2 in kept:
        mask[y1:y2, x1:x2] |= over[y1:y2, x1:x2]
    return Proposal(np.array(kept, np.float32), float(probs[mask].mean()), mask)
