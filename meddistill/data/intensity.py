"""From any range of values to 8 bits: by window, by percentiles, or by the full range."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from meddistill.base.errors import ConfigError, InputError

_PERCENTILES = (0.5, 99.5)
_FEW_VALUES = 2**16
_COUNTED_AT_ONCE = 2**18


@dataclasses.dataclass(frozen=True)
class IntensitySettings:
    """How pixels become 8-bit ones.

    `mode`: `auto` leaves 8-bit pixels as they are, takes a window that the file brings, else
    percentiles; `percentile` and `full` stretch everything. `window`: (low, high) that goes over
    all of them. `per_volume`: limits of a volume's slice are those of the volume, so that slices
    stay comparable. `scanner_8bit`: with `auto`, 8-bit values of a DICOM file without a window are
    left `as-is`, as the same pixels in a PNG are, or `stretched` by percentiles.
    """

    mode: str = "auto"
    window: tuple[float, float] | None = None
    per_volume: bool = True
    scanner_8bit: str = "as-is"


def settings_of_prepare(settings: Mapping[str, Any]) -> IntensitySettings:
    """How `prepare` made 8-bit images, from its settings in RUN/data/run.json; what they lack has
    its default."""
    mode, window = str(settings.get("intensity", "auto")), str(settings.get("window", ""))
    per_volume = settings.get("intensity_per", "volume") == "volume"
    scanner = str(settings.get("scanner_8bit", "stretched"))
    return IntensitySettings(mode, parse_window(window), per_volume, scanner)


def parse_window(text: str) -> tuple[float, float] | None:
    """`CENTER,WIDTH` as (low, high); None for an empty text. Raises: ConfigError."""
    if not text:
        return None
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"window is '{text}'; expected CENTER,WIDTH such as 40,400") from None
    if not (np.isfinite(center) and np.isfinite(width) and width > 0):
        raise ConfigError(f"window is '{text}'; the width must be above 0")
    return center - width / 2, center + width / 2


def percentile_limits(pixels: np.ndarray) -> tuple[float, float]:
    """The 0.5 and 99.5 percentiles of the finite values; lowest and highest where those two are
    equal."""
    # Whole numbers are finite: of a volume, picking them out costs more than the percentiles.
    values = pixels.ravel("K") if pixels.dtype.kind in "biu" else pixels[np.isfinite(pixels)]
    if values.size == 0:
        return 0.0, 0.0
    lowest, highest = values.min(), values.max()
    if _are_short(values) and int(highest) - int(lowest) < _FEW_VALUES:
        low, high = _percentiles_by_count(values, int(lowest), int(highest))
    else:
        low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    return (low, high) if low < high else (float(lowest), float(highest))


def _are_short(values: np.ndarray) -> bool:
    """Whether they are whole numbers of 32 bits at most."""
    return values.dtype.kind in "biu" and values.dtype.itemsize <= 4


def _percentiles_by_count(values: np.ndarray, lowest: int, highest: int) -> tuple[float, float]:
    """What `np.percentile` gives, of whole numbers (N,): by counting each, in a sixth of the time that
    it takes to put the voxels of a volume in order."""
    counts = np.zeros(highest - lowest + 1, np.int64)
    for start in range(0, len(values), _COUNTED_AT_ONCE):  # not all as 64-bit numbers at once
        part = values[start : start + _COUNTED_AT_ONCE]
        above = np.subtract(part, lowest, dtype=np.int64)
        counts += np.bincount(above, minlength=len(counts))
    upto = counts.cumsum()
    found = []
    for percent in _PERCENTILES:
        place = percent / 100 * (len(values) - 1)
        before = math.floor(place)
        low, high = np.searchsorted(upto, [before, before + 1], "right") + float(lowest)
        share = place - before
        # Rounded as NumPy does it.
        step = high - low
        found.append(float(low + step * share if share < 0.5 else high - step * (1 - share)))
    return found[0], found[1]


def to_8bit(
    pixels: np.ndarray,
    settings: IntensitySettings | None = None,
    *,
    file_window: tuple[float, float] | None = None,
    volume_limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """uint8 of the same shape (H, W) or (H, W, 3); three equal channels become one.

    Raises: InputError where there is nothing to see: no pixel, NaN or infinity, or one value
    everywhere.

    Args:
        pixels: (H, W) or (H, W, 3), any real dtype.
        settings: how; None as `prepare` does by default.
        file_window: (low, high) that the file asks for.
        volume_limits: (low, high) of the volume that it is a slice of.
    """
    settings = settings or IntensitySettings()
    if pixels.size == 0:
        raise InputError("image has no pixels")
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all():
        pixels = pixels[..., 0]
    if not np.isfinite(pixels).all():
        raise InputError("image holds NaN or infinity")
    lowest, highest = float(pixels.min()), float(pixels.max())
    if lowest == highest:
        raise InputError(f"image is constant: every pixel is {lowest:g}")
    window = settings.window or (file_window if settings.mode == "auto" else None)
    if window is None:
        if settings.mode == "auto" and pixels.dtype == np.uint8:
            return pixels
        if settings.mode == "full":
            window = lowest, highest
        else:
            window = (
                volume_limits
                if volume_limits and settings.per_volume
                else percentile_limits(pixels)
            )
    return _stretch(pixels, *window)


def _stretch(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    if not low < high:
        raise InputError(f"image has no range of values: {low:g} to {high:g}")
    if _are_short(pixels):
        inside = pixels.astype(np.float32)
        np.clip(inside, np.float32(low), np.float32(high), out=inside)
    else:  # clipped first: the largest floats would overflow
        inside = np.clip(pixels, low, high).astype(np.float32)
    inside -= np.float32(low)
    inside *= np.float32(255 / (high - low))
    stretched = np.rint(inside, out=inside).astype(np.uint8)
    if (stretched == stretched.flat[0]).all():
        raise InputError(f"image is constant between {low:g} and {high:g}")
    return stretched
