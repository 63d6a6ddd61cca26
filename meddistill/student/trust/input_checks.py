"""Is this an image such as those it learned from, as far as one sees without a network: size, shape,
grey values, colour, a negative, a quarter turn. Arrays alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

THUMBNAIL = 16
MOST_THUMBNAILS = 128
_OWN_SHARE = 0.01
"""Share of own images that may look turned or negative by chance."""


@dataclasses.dataclass(frozen=True)
class InputRanges:
    """What own images are like. `longest` px and `aspect` (width over height): from, to. `grey`:
    lowest and highest mean, in [0, 255]. `coloured`: some have colour, `grey_too`: some have none.
    `thumbnails` (M, 16, 16) uint8. `turned`, `negative`: ratios of distances from which an image
    looks turned, or a negative, rather than as it should."""

    longest: tuple[float, float]
    aspect: tuple[float, float]
    grey: tuple[float, float]
    coloured: bool
    grey_too: bool
    thumbnails: np.ndarray
    turned: float
    negative: float


@dataclasses.dataclass(frozen=True)
class Glance:
    """What is kept of an image: its `longest` side px, width over height, mean `grey` in [0, 255],
    whether it has colour, and a `thumbnail` uint8 (16, 16)."""

    longest: float
    aspect: float
    grey: float
    coloured: bool
    thumbnail: np.ndarray


def glance(image: np.ndarray) -> Glance:
    """Of an image uint8 (H, W) or (H, W, 3)."""
    height, width = image.shape[:2]
    return Glance(
        float(max(height, width)),
        width / height,
        float(image.mean()),
        _has_colour(image),
        _thumbnail(image),
    )


def all_alike(glances: Sequence[Glance]) -> bool:
    """Whether two or more images look the same."""
    seen = {(each.longest, each.aspect, each.grey, each.thumbnail.tobytes()) for each in glances}
    return len(glances) > 1 and len(seen) == 1


def fit_ranges(trained: Sequence[Glance], held: Sequence[Glance]) -> InputRanges:
    """Of training images and held-back ones, at least one of each."""
    every = [*trained, *held]
    spans = {
        name: (min(values), max(values))
        for name in ("longest", "aspect", "grey")
        for values in [[float(getattr(each, name)) for each in every]]
    }
    step = -(-len(trained) // MOST_THUMBNAILS)
    plain = InputRanges(
        **spans,
        coloured=any(each.coloured for each in every),
        grey_too=not all(each.coloured for each in every),
        thumbnails=np.stack([each.thumbnail for each in trained[::step]]),
        turned=np.inf,
        negative=np.inf,
    )
    ratios = np.array([_ratios(each.thumbnail, plain) for each in held])
    turned, negative = np.quantile(ratios, 1 - _OWN_SHARE, axis=0, method="higher")
    # A ratio below 1 says that it looks right: then nothing is wrong, whatever is usual.
    return dataclasses.replace(
        plain, turned=float(max(turned, 1.0)), negative=float(max(negative, 1.0))
    )


def input_doubts(image: np.ndarray, own: InputRanges) -> list[str]:
    """What is odd about an image, uint8 (H, W) or (H, W, 3), in words; nothing where nothing is."""
    height, width = image.shape[:2]
    if int(np.ptp(image, axis=(0, 1)).max()) < 4:  # of a channel: one colour is constant, too
        return ["the image is constant"]
    seen, doubts = glance(image), []
    if not own.longest[0] / 2 <= seen.longest <= own.longest[1] * 2:
        doubts.append(f"size {width}x{height}, trained on {_span(own.longest)} px")
    if not own.aspect[0] / 1.25 <= seen.aspect <= own.aspect[1] * 1.25:
        doubts.append(f"width over height {seen.aspect:.2f}, trained on {_span(own.aspect, 2)}")
    margin = 0.25 * (own.grey[1] - own.grey[0]) + 4
    if not own.grey[0] - margin <= seen.grey <= own.grey[1] + margin:
        doubts.append(f"mean grey {seen.grey:.0f}, trained on {_span(own.grey)}")
    if seen.coloured and not own.coloured:
        doubts.append("in colour, trained on grey images")
    if not seen.coloured and not own.grey_too:
        doubts.append("grey, trained on images in colour")
    turned, negative = _ratios(seen.thumbnail, own)
    if negative > own.negative:
        doubts.append("looks like a negative")
    if turned > own.turned:
        doubts.append("looks turned or upside down")
    return doubts


def _span(values: tuple[float, float], digits: int = 0) -> str:
    low, high = (f"{value:.{digits}f}" for value in values)
    return low if low == high else f"{low} to {high}"


def _has_colour(image: np.ndarray) -> bool:
    if image.ndim == 2:
        return False
    wide = image.astype(np.int16)
    return float((wide.max(axis=2) - wide.min(axis=2)).mean()) > 3.0


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Means over a grid of 16 x 16, uint8; whatever the shape, so that shape does not matter."""
    grey = image.mean(axis=2) if image.ndim == 3 else image.astype(np.float64)
    for axis in (0, 1):
        side = grey.shape[axis]
        places = (np.arange(THUMBNAIL + 1) * side / THUMBNAIL).astype(int)
        first = np.minimum(places[:-1], side - 1)
        last = np.maximum(places[1:], first + 1)
        total = np.concatenate([np.zeros_like(grey.take([0], axis)), grey.cumsum(axis)], axis)
        sums = total.take(last, axis) - total.take(first, axis)
        counts = (last - first).reshape((-1, 1) if axis == 0 else (1, -1))
        grey = sums / counts
    return np.rint(grey).astype(np.uint8)


def _ratios(thumbnail: np.ndarray, own: InputRanges) -> tuple[float, float]:
    """Distance to own thumbnails as it is over that of the best turn of it, and of its negative."""
    known = _unit(own.thumbnails)
    as_is = _distance(thumbnail, known)
    turns = [np.rot90(thumbnail, quarter) for quarter in (1, 2, 3)]
    turned = min(_distance(each, known) for each in [*turns, thumbnail[::-1]])
    return as_is / turned, as_is / _distance(255 - thumbnail, known)


def _unit(thumbnails: np.ndarray) -> np.ndarray:
    """Without brightness and contrast, which a scanner's settings change: mean 0, deviation 1."""
    wide = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    wide = wide - wide.mean(axis=1, keepdims=True)
    return np.asarray(wide / (np.sqrt((wide**2).mean(axis=1, keepdims=True)) + 0.5))


def _distance(thumbnail: np.ndarray, known: np.ndarray) -> float:
    squares = ((_unit(thumbnail[None]) - known) ** 2).mean(axis=1)
    return float(np.sqrt(np.sort(squares)[:3]).mean()) + 1e-6
