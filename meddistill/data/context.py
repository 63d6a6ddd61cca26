"""A slice with its neighbours as channels: what a student with `distill.context` above 0 sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def grey(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of (H, W) or (H, W, 3); of colours their mean."""
    if image.ndim == 2:
        return image
    if (image[..., :1] == image).all():
        return np.ascontiguousarray(image[..., 0])
    return np.rint(image.mean(axis=2)).astype(np.uint8)


def alone(image: np.ndarray, context: int) -> np.ndarray:
    """A picture that has no neighbours, as if each was itself: uint8 (H, W, 2 context + 1)."""
    return np.repeat(grey(image)[..., None], 2 * context + 1, axis=2)


def with_neighbours(slices: Sequence[np.ndarray], context: int) -> list[np.ndarray]:
    """Each slice of a volume with its `context` neighbours on both sides, in their order: uint8
    (H, W, 2 context + 1). Beyond the border the last slice repeats, and a neighbour of another size
    is the slice itself."""
    greys = [grey(each) for each in slices]
    return [among(greys, index, context) for index in range(len(greys))]


def among(greys: Sequence[np.ndarray], index: int, context: int) -> np.ndarray:
    """`with_neighbours` of one of the slices, which are uint8 (H, W)."""
    own, last = greys[index], len(greys) - 1
    places = [min(max(index + step, 0), last) for step in range(-context, context + 1)]
    beside = [greys[place] for place in places]
    return np.stack([b if b.shape == own.shape else own for b in beside], axis=2)


def as_seen(image: np.ndarray, context: int) -> np.ndarray:
    """What a student with `context` takes: an image that already has 2 context + 1 channels as it is,
    any other `alone`; without context the image itself."""
    if not context or (image.ndim == 3 and image.shape[2] == 2 * context + 1):
        return image
    return alone(image, context)
