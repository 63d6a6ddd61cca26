"""What pixels may be a picture: how many, and of which shape. What reads the file puts its name
before what is said here."""

from __future__ import annotations

import numpy as np

from meddistill.base.errors import InputError

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded; a header that promises more is refused before decoding."""


def check_size(width: int, height: int) -> None:
    """Raises: InputError for a picture of more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise InputError(f"is {width}x{height}, above {MAX_PIXELS:,} pixels")


def checked_shape(pixels: np.ndarray) -> np.ndarray:
    """The pixels, (H, W) or (H, W, 3) real numbers. Raises: InputError for others."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InputError(f"holds pixels of shape {pixels.shape}, which are no image")
    if pixels.dtype.kind not in "buif":
        raise InputError(f"holds {pixels.dtype}, expected real numbers")
    return pixels
