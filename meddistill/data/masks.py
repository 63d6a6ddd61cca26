"""Mask files as truth values, whatever they were saved as. Read by `prepare` and `eval`; never by
training."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.findings import Findings, hex_colour, parse_colour
from meddistill.data.formats.pictures import load_labels

Label = float | tuple[int, int, int]
"""A value of a label mask, or a colour (R, G, B)."""

ANY_LABEL = "any"
INSTANCES = "instances"
"""Every value (or colour) but 0 is an object of its own."""
_WHOLE = 0.01
"""How far a stored 0 or 1 may be off, as scaling by a header leaves it."""
_NOISE = 16
"""JPEG leaves values up to about this in an empty mask."""
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
    if len(values) > _MOST_OBJECTS:
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


def binarise(pixels: np.ndarray, lossy: bool = False, name: str = "mask") -> np.ndarray:
    """bool (H, W) of mask pixels (H, W[, 3]); the rule of `read_mask` without labels."""
    if pixels.ndim == 3:
        _check_background(pixels, name)
        _check_colours(pixels, lossy, name)
        pixels = pixels.max(axis=2)
    if pixels.dtype == bool:
        return pixels
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise InputError(f"{name} holds NaN or infinity")
    highest, lowest = float(pixels.max(initial=0)), float(pixels.min(initial=0))
    if lowest < 0:
        raise InputError(f"{name} holds negative values (lowest {lowest:g})")
    if highest == 0 or (lossy and highest <= _NOISE):
        return np.zeros(pixels.shape, dtype=bool)
    if not lossy and highest <= 1:
        if pixels.dtype.kind in "iu":
            return np.asarray(pixels == 1)
        between = pixels[(pixels > _WHOLE) & (pixels < 1 - _WHOLE)]
        if between.size:
            raise InputError(
                f"{name} holds fractions ({float(between.flat[0]):.3g} in {between.size} places): no "
                "mask but probabilities, or one that was interpolated; write it with 0 and 1"
            )
        return np.asarray(pixels >= 0.5)
    full = 255.0
    if np.issubdtype(pixels.dtype, np.integer) and highest > 255:
        full = float(np.iinfo(pixels.dtype).max)
    if highest < full / 2:
        values = np.unique(pixels)
        listed = ", ".join(f"{value:g}" for value in values[:6]) + (
            ", ..." if len(values) > 6 else ""
        )
        raise InputError(
            f"{name} holds the values {listed}, none at half of {full:g}: not a black and white "
            "mask; name the lesion's values with --label, or --label instances where they number objects"
        )
    if not lossy and (why := _other_than_black_and_white(pixels)):
        raise InputError(f"{name} {why}")
    return np.asarray(pixels >= full / 2)


def _check_background(pixels: np.ndarray, name: str) -> None:
    """Raises: InputError where the colour around a colour mask (H, W, 3) would count as lesion."""
    if pixels.dtype != np.uint8 or (pixels[..., :1] == pixels).all():
        return
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colours, counts = np.unique(
        border & 0xF0, axis=0, return_counts=True
    )  # loss blurs the low bits
    most = colours[counts.argmax()]
    if counts.max() * 2 > len(border) and most.max() >= 128:
        around = np.median(border[((border & 0xF0) == most).all(axis=1)], axis=0).astype(int)
        raise InputError(
            f"{name} is a colour mask whose background #{around[0]:02x}{around[1]:02x}{around[2]:02x} "
            "would count as lesion; name the lesion's colours such as --label '#ff0000'"
        )


def _check_colours(pixels: np.ndarray, lossy: bool, name: str) -> None:
    """Raises: InputError where areas of a colour mask (H, W, 3) have colours of their own, which may
    mean different things."""
    if pixels.dtype != np.uint8 or (pixels[..., :1] == pixels).all():
        return
    bright = pixels >= 128
    kinds = bright @ np.array([4, 2, 1])
    counts = np.bincount(kinds[kinds > 0], minlength=8)
    # Along the edges of a lossy mask colours mix.
    least = (_LOSSY_SHARE if lossy else _LEVEL_SHARE) * counts.sum()
    found = [int(kind) for kind in np.argsort(-counts, kind="stable") if counts[kind] > least]
    if len(found) > 1:
        colours = [
            hex_colour(np.median(pixels[kinds == kind], axis=0).astype(int).tolist())
            for kind in found
        ]
        raise InputError(
            f"{name} holds areas in several colours ({', '.join(colours)}): name the lesion's with "
            f"--label '{colours[0]}', or a finding each with --findings; --label any takes all for lesion"
        )


_FEWEST_OBJECTS, _MOST_OBJECTS = 3, 65535
_FEW_LEVELS = 8
_LEVEL_SHARE, _LOSSY_SHARE = 0.05, 0.15


def _other_than_black_and_white(pixels: np.ndarray) -> str:
    """What else a mask (H, W) with values in its upper half is: its objects are numbered, or it has
    areas of several greys; '' for a mask of one value and soft ones."""
    highest = pixels.max()
    marked = np.count_nonzero(pixels)
    # Most masks are black and white, which is quick to see.
    if np.count_nonzero(pixels == highest) == marked or not np.issubdtype(pixels.dtype, np.integer):
        return ""
    if _numbers_objects(pixels):
        return (
            f"holds the values 1 to {highest:g}, each on an area of its own, as masks do that number "
            "their objects: not a black and white mask; with --label instances each is an object, with "
            "--label any every value is lesion, and objects that touch become one"
        )
    levels = _grey_levels(pixels)
    if not levels:
        return ""
    listed = ", ".join(map(str, levels))
    return (
        f"holds the values {listed}, each on an area of its own: not a black and white mask; --label "
        f"{levels[-1]} or --label {','.join(map(str, levels))} says which are lesion, --findings "
        f"{','.join(f'a{place}={value}' for place, value in enumerate(levels, 1))} tells them apart"
    )


def _grey_levels(pixels: np.ndarray) -> list[int]:
    """The values beside 0 of a mask of few of which one below the brightest is no shade of black, of
    white or of an edge: it holds a share of what is marked, in areas. [] where there is none."""
    values, counts = np.unique(pixels, return_counts=True)
    values, counts = values[values != 0], counts[values != 0]
    if not 2 <= len(values) <= _FEW_LEVELS:
        return []
    inner = pixels[1:-1, 1:-1] if pixels.ndim == 2 else pixels[:0]
    same = np.ones(inner.shape, dtype=bool)
    if inner.size:
        for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
            same &= (
                pixels[rows : rows + inner.shape[0], columns : columns + inner.shape[1]] == inner
            )
    full = float(values[-1])
    near = _NOISE * max(full, 255.0) / 255
    areas = []
    for value, count in zip(values, counts, strict=True):
        # Loss leaves traces of black around a shape; an area of its own is more than that.
        least = 0.6 if value <= near else 0.25
        if value < full - near and count >= _LEVEL_SHARE * counts.sum():
            is_area = np.count_nonzero(same & (inner == value)) >= least * count
            areas += [int(value)] if is_area else []
    # The brightest may be a mere line around areas, as what is not to be judged is marked.
    return [*areas, int(full)] if areas else []


def _numbers_objects(pixels: np.ndarray) -> bool:
    """Whether the values (H, W) number objects: nearly all from 1 to the highest are there, none on
    half of what is marked, and most neighbours have the same one. Soft masks, whose values also
    fill their range, change from pixel to pixel."""
    highest = pixels.max()
    # Most masks are black and white, which is quick to see.
    if 2 * np.count_nonzero(pixels == highest) >= np.count_nonzero(pixels):
        return False
    if not np.issubdtype(pixels.dtype, np.integer) or highest > _MOST_OBJECTS:
        return False
    counts = np.bincount(pixels.ravel())[1:]
    there = int((counts > 0).sum())
    if there < max(_FEWEST_OBJECTS, 0.9 * len(counts)) or counts.max() * 2 >= counts.sum():
        return False
    left, right = pixels[:, :-1], pixels[:, 1:]
    both = (left > 0) & (right > 0)
    return bool((left == right)[both].sum() * 2 > both.sum())


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
