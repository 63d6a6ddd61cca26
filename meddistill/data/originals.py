"""The values of an image as its source has them: of more than 8 bits, which `prepare` had to make of
them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.formats.known_image_formats import image_format_of
from meddistill.data.formats.volume_slices import AXES, VolumeSlice
from meddistill.data.raw_case import ImageRef

_SLICE = re.compile(rf"({'|'.join(AXES)})(\d{{1,6}})")
_LEAST_PIXELS = 10


def load_original(directory: Path, source: str, size_hw: tuple[int, int]) -> np.ndarray:
    """Grey values (H, W) float32 of the image that a case calls `source`, in a source's folder.

    A volume of several channels gives its first. Raises: InputError where the file is not there,
    lies outside the folder, has another size, or no more than 8 bits of grey.
    """
    file, mark, part = source.partition("#")
    path = directory / file
    if not path.resolve().is_relative_to(directory.resolve()) or not path.is_file():
        raise InputError(f"{directory} has no {file}")
    pixels = _reference(path, part if mark else "").load().pixels
    if pixels.ndim != 2 or pixels.shape != size_hw or pixels.dtype == np.uint8:
        raise InputError(f"{path} holds no more grey values than are shown")
    values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds NaN or infinity")
    return values


def _reference(path: Path, part: str) -> ImageRef:
    of_volume = _SLICE.fullmatch(part)
    if of_volume:
        return VolumeSlice(path, AXES.index(of_volume[1]), int(of_volume[2]))
    images = image_format_of(path).images(path)
    number = int(part) if part.isdigit() else 0
    if number >= len(images):
        raise InputError(f"{path} has no image number {number}")
    return images[number]


def shown_window(values: np.ndarray, shown: np.ndarray) -> tuple[float, float]:
    """The values that became 0 and 255 when `shown`, uint8 (H, W), was made of them; the whole
    range where too little can be told. An image that was shown inverted gives the first above the
    second."""
    between = (shown > 0) & (shown < 255)
    if between.sum() < _LEAST_PIXELS or len(np.unique(shown[between])) < 2:
        return float(values.min()), float(values.max())
    slope, at_zero = np.polyfit(shown[between].astype(np.float64), values[between], 1)
    return float(at_zero), float(at_zero + 255 * slope)
