"""Mask files as truth values, whatever they were saved as. Read by `prepare` and `eval`; never by training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meddistill.data.images import load_labels
from meddistill.errors import InputError

_NOISE = 16
"""JPEG leaves values up to about this in an empty mask."""


def read_mask(path: Path) -> np.ndarray:
    """bool (H, W): True where the mask is at least half of its range; all False for an empty one.

    A lossless mask of 0 and 1 counts as full range. Raises: InputError where the file cannot be read, or its
    values are neither (label numbers, or a faint mask).
    """
    pixels, lossy = load_labels(path)
    return binarise(pixels, lossy, path.name)


def binarise(pixels: np.ndarray, lossy: bool = False, name: str = "mask") -> np.ndarray:
    """bool (H, W) of mask pixels (H, W[, 3]); the rule of `read_mask`."""
    if pixels.ndim == 3:
        pixels = pixels.max(axis=2)
    if pixels.dtype == bool:
        return pixels
    if not np.isfinite(pixels).all():
        raise InputError(f"{name} holds NaN or infinity")
    highest, lowest = float(pixels.max(initial=0)), float(pixels.min(initial=0))
    if lowest < 0:
        raise InputError(f"{name} holds negative values (lowest {lowest:g})")
    if highest == 0 or (lossy and highest <= _NOISE):
        return np.zeros(pixels.shape, dtype=bool)
    if not lossy and highest <= 1:
        return np.asarray(pixels >= 0.5)
    full = float(np.iinfo(pixels.dtype).max) if np.issubdtype(pixels.dtype, np.integer) else 255.0
    if full > 255 and highest <= 255:
        full = 255.0
    if highest < full / 2:
        values = np.unique(pixels)
        listed = ", ".join(f"{value:g}" for value in values[:6]) + (", ..." if len(values) > 6 else "")
        raise InputError(f"{name} holds the values {listed}, none at half of {full:g}: not a black and white mask")
    return np.asarray(pixels >= full / 2)
