"""A picture as the student sees it: 8 bits, bright where its file means bright. The one way from a file's
values to the pixels of `prepare` and `predict`."""

from __future__ import annotations

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.intensity import IntensitySettings, to_8bit
from meddistill.data.raw_case import Picture


def shows_nothing(pixels: np.ndarray) -> bool:
    """Whether all of some pixels have one value."""
    return bool(pixels.size and (pixels == pixels.flat[0]).all())


def shown(picture: Picture, intensity: IntensitySettings | None, *, blank: bool) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3). `blank`: it is a slice of a volume, which may show nothing, or
    nothing inside the volume's limits: black then. Raises: as `to_8bit`.
    """
    if blank and shows_nothing(picture.pixels):
        return np.zeros(picture.pixels.shape[:2], np.uint8)
    pixels = picture.pixels
    if picture.scanner_8bit and (intensity or IntensitySettings()).scanner_8bit == "stretched":
        pixels = pixels.astype(np.float32)
    try:
        image = to_8bit(
            pixels,
            intensity,
            file_window=picture.window,
            volume_limits=picture.volume_limits,
        )
    except InputError:
        if blank and np.isfinite(picture.pixels).all() and picture.pixels.size:
            return np.zeros(picture.pixels.shape[:2], np.uint8)
        raise
    return 255 - image if picture.inverted else image
