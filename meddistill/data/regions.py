"""What may be done to a mask after it was predicted, in two or three dimensions."""

from __future__ import annotations

import numpy as np


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a bool mask of any dimensions (of two equal ones the first), also by
    corners; an empty mask stays empty."""
    labels, count = _labelled(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(labels == 1 + int(sizes.argmax()))


def median_filtered(mask: np.ndarray, side: int) -> np.ndarray:
    """A bool mask (slices, H, W) after the majority in a cube of `side` voxels, odd; flat where there
    is one slice. Beyond the border lies what is at it."""
    from scipy import ndimage

    size = [min(side, length) for length in mask.shape[:1]] + [side, side]
    size[0] -= 1 - size[0] % 2  # an even window would shift the mask
    share = ndimage.uniform_filter(mask.astype(np.float32), size, mode="nearest")
    return np.asarray(share > 0.5)


def _labelled(mask: np.ndarray) -> tuple[np.ndarray, int]:
    from scipy import ndimage  # slow to import

    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return labels, int(count)
