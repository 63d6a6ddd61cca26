"""Mask pixels of which nobody said what they mean: black and white, or refused as what else they seem
to be."""

from __future__ import annotations

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.findings import hex_colour

_WHOLE = 0.01
"""How far a stored 0 or 1 may be off, as scaling by a header leaves it."""
_NOISE = 16
"""JPEG leaves values up to about this in an empty mask."""
_FEWEST_OBJECTS, MOST_OBJECTS = 3, 65535
"""Of a mask that numbers its objects."""
_FEW_LEVELS = 8
_LEVEL_SHARE, _LOSSY_SHARE = 0.05, 0.15
"""Of what is marked, from which on a grey or colour is an area of its own; of lossy masks."""


def binarise(pixels: np.ndarray, lossy: bool = False, name: str = "mask") -> np.ndarray:
    """bool (H, W) of mask pixels (H, W[, 3]): True from half of their range on, where 0 and 1 without loss
    are a full range, too; all False if empty.

    Raises: InputError for pixels that are no black and white mask, with what they seem to be.
    """
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
    if not np.issubdtype(pixels.dtype, np.integer) or highest > MOST_OBJECTS:
        return False
    counts = np.bincount(pixels.ravel())[1:]
    there = int((counts > 0).sum())
    if there < max(_FEWEST_OBJECTS, 0.9 * len(counts)) or counts.max() * 2 >= counts.sum():
        return False
    left, right = pixels[:, :-1], pixels[:, 1:]
    both = (left > 0) & (right > 0)
    return bool((left == right)[both].sum() * 2 > both.sum())
