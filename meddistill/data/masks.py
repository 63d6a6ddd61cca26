"""Mask files as truth values, whatever they were saved as. Read by `prepare` and `eval`; never by
training."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.black_and_white import MOST_OBJECTS, binarise
from meddistill.data.findings import Findings, hex_colour, parse_colour
from meddistill.data.formats.pictures import load_labels

Label = float | tuple[int, int, int]
"""A value of a label mask, or a colour (R, G, B)."""

ANY_LABEL = "any"
INSTANCES = "instances"
"""Every value (or colour) but 0 is an object of its own."""
_COLOUR_TOLERANCE = 48
"""Largest difference a channel of a lossy colour mask may have from the colour asked for."""


@dataclasses.dataclass(frozen=True)
class FindingValues:
    """Which values (or colours) of a source's label maps mean each finding; a value may serve
    several. `background`: values beside 0 that mean none."""

    findings: Findings
    values: tuple[tuple[Label, ...], ...]
    background: tuple[Label, ...] = ()

    def select(self, pixels: np.ndarray, tolerance: int = 0, name: str = "mask") -> np.ndarray:
        """Bool planes (C, H, W) of a label map (H, W[, 3]). Raises: StrangeValuesError for values
        that mean nothing."""
        planes = np.stack([select_labels(pixels, each, tolerance) for each in self.values])
        rest = select_labels(pixels, ANY_LABEL) & ~planes.any(axis=0)
        if self.background and rest.any():
            rest &= ~select_labels(pixels, self.background, tolerance)
        if rest.any() and not tolerance:  # at a lossy mask's edges colours mix
            found, counts = np.unique(
                pixels[rest].reshape(int(rest.sum()), -1), axis=0, return_counts=True
            )
            told = {
                _label_text(value): int(count) for value, count in zip(found, counts, strict=True)
            }
            raise StrangeValuesError(name, told)
        return planes


class StrangeValuesError(InputError):
    """A label map holds values that no finding means: `values`, text to pixels."""

    def __init__(self, name: str, values: dict[str, int]) -> None:
        self.values = values
        told = ", ".join(f"{value} ({count} px)" for value, count in list(values.items())[:6])
        super().__init__(f"{name} holds values that no finding means: {told}")


def _label_text(value: np.ndarray) -> str:
    if len(value) == 3:
        return hex_colour(value.tolist())
    return f"{value[0]:g}"


Labels = tuple[Label, ...] | str | FindingValues | None
"""What of a mask is lesion: its values or colours, `any`, `instances`, those of several findings,
or nothing said: black and white."""


def parse_labels(text: str) -> tuple[Label, ...] | str | None:
    """`1,4` as values, `#ff0000,#00ff00` as colours, `any` for every value but 0, `instances` where
    each is an object; None for an empty text.

    Raises: ConfigError for anything else, and for values and colours mixed.
    """
    if not text:
        return None
    if text in (ANY_LABEL, INSTANCES):
        return text
    labels: list[Label] = []
    for part in (part.strip() for part in text.split(",")):
        if re.fullmatch(r"#[0-9a-fA-F]{6}", part):
            labels.append(parse_colour(part))
        elif re.fullmatch(r"-?\d+(\.\d+)?", part):
            labels.append(float(part))
        else:
            by_name = (
                f"; a name is asked for with --findings '{text}', or '{part}=VALUE' of a label map"
            )
            raise ConfigError(
                f"label is '{text}'; expected values (1,4), colours (#ff0000), 'any' or 'instances'"
                f"{by_name if part[:1].isalpha() else ''}"
            )
    if len({isinstance(label, tuple) for label in labels}) > 1:
        raise ConfigError(f"label is '{text}': values and colours do not mix")
    return tuple(labels)


def read_mask(path: Path, labels: Labels = None) -> np.ndarray:
    """bool (H, W), or (C, H, W) with `FindingValues`: True where the mask is at least half of its
    range, or has one of `labels`; all False if empty. With `INSTANCES` int32 (H, W), the objects
    numbered from 1.

    A lossless mask of 0 and 1 counts as full range. Raises: InputError where the file cannot be
    read, or its values are neither (label numbers, or a faint mask) and no labels are given.
    """
    colours = _are_colours(labels.values[0] if isinstance(labels, FindingValues) else labels)
    pixels, lossy = load_labels(path, colours)
    if labels is None:
        return binarise(pixels, lossy, path.name)
    if lossy and not colours:
        raise InputError(f"{path.name} is compressed with loss: label values cannot be told apart")
    return chosen(pixels, labels, _COLOUR_TOLERANCE if lossy else 0, path.name)


def chosen(
    pixels: np.ndarray, labels: Labels, tolerance: int = 0, name: str = "mask"
) -> np.ndarray:
    """bool (H, W) of pixels (H, W[, 3]) as `labels` say, or (C, H, W) with `FindingValues`, or int32
    (H, W) with `INSTANCES`; without labels as `binarise`.

    Args:
        pixels: of a mask.
        labels: what of it is lesion.
        tolerance: as in `select_labels`.
        name: of the mask, for errors.
    """
    if labels is None:
        return binarise(pixels, name=name)
    if isinstance(labels, FindingValues):
        return labels.select(pixels, tolerance, name)
    if labels == INSTANCES:
        return numbered(pixels, name)
    return select_labels(pixels, labels, tolerance)


def numbered(pixels: np.ndarray, name: str = "mask") -> np.ndarray:
    """int32 (H, W) of a mask (H, W[, 3]) whose every value or colour but 0 is an object: numbers from
    1 in the order of the values. Raises: InputError for more objects than a person draws."""
    if pixels.ndim == 3:
        red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
        pixels = (red << 32) | (green << 16) | blue
    values, places = np.unique(pixels, return_inverse=True)
    if len(values) > MOST_OBJECTS:
        raise InputError(f"{name} holds {len(values)} values: they number no objects")
    order = np.cumsum(values != 0) * (values != 0)
    return order[places].reshape(pixels.shape).astype(np.int32)


def numbered_apart(
    planes: Sequence[np.ndarray], shape: tuple[int, ...], name: str = "mask"
) -> np.ndarray:
    """int32 of the shape (H, W), or of a volume's, in which each of some bool planes of it is an object,
    numbered from 1. Raises: InputError where two of them overlap."""
    found = np.zeros(shape, dtype=np.int32)
    for number, plane in enumerate(planes, start=1):
        if found[plane].any():
            raise InputError(
                f"{name} holds structures that overlap, which --label instances cannot number; --findings "
                "tells them apart, --label any makes them one"
            )
        found[plane] = number
    return found


def select_labels(
    pixels: np.ndarray, labels: Sequence[Label] | str, tolerance: int = 0
) -> np.ndarray:
    """bool (H, W): True where pixels (H, W[, 3]) have one of the labels; `any` is every value but 0
    (and black).

    Raises: InputError for values asked of a colour mask.
    """
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all() and not _are_colours(labels):
        pixels = pixels[..., 0]
    if isinstance(labels, str):
        return np.asarray(pixels.any(axis=2) if pixels.ndim == 3 else pixels != 0)
    if not _are_colours(labels):
        if pixels.ndim == 3:
            raise InputError("mask is a colour image; name colours such as --label '#ff0000'")
        return np.isin(pixels, np.array(labels))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    selected = np.zeros(pixels.shape[:2], dtype=bool)
    for colour in labels:
        selected |= (np.abs(pixels.astype(np.int32) - np.array(colour)) <= tolerance).all(axis=2)
    return selected


def _are_colours(labels: Sequence[Label] | str | None) -> bool:
    return bool(labels) and not isinstance(labels, str) and isinstance(labels[0], tuple)  # type: ignore[index]
