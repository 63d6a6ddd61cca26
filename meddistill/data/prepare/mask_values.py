"""What masks are by their values, where nobody said: black and white, or label maps. A sample of them
is looked into, evenly over the source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.formats.picture_refs import MaskFiles
from meddistill.data.formats.pictures import load_labels
from meddistill.data.formats.volume_slices import MaskSlice, read_volume
from meddistill.data.pixels import connected_components
from meddistill.data.raw_case import RawCase

_FIRST = 16
"""Where so many masks, spread over all, hold 0 and 1 alone, the others are not looked into."""
_PICTURES, _VOLUMES = 160, 6
_MOST_VALUES = 30
_HALF = 128
_FEWEST_OBJECTS = 3
_SPECK_PX = 10

Read = Callable[[Path], np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class MaskValues:
    """What a sample of masks holds where all hold small whole numbers: `values` but 0, sorted.
    `may_number`: in every mask they run from 1 to another end, each on one area, as where they
    number objects."""

    values: tuple[int, ...] = ()
    may_number: bool = False

    @property
    def are_labels(self) -> bool:
        """Whether they cannot be black and white."""
        return bool(self.values) and self.values != (1,)


def values_of(cases: Sequence[RawCase]) -> MaskValues:
    """The values of the cases' masks; empty where any is no label map of small numbers, which
    `masks.binarise` knows to read or refuse."""
    found: set[int] = set()
    areas: list[dict[int, int]] = []  # of each mask: value to areas
    for number, pixels in enumerate(_sample(cases), start=1):
        values = _small_values(pixels)
        if values is None:
            return MaskValues()
        found |= set(values)
        if len(found) > _MOST_VALUES:
            return MaskValues(tuple(sorted(found)), may_number=True)
        areas.append({value: _areas(pixels == value) for value in values})
        if number == _FIRST and found <= {1}:
            return MaskValues()
    return MaskValues(tuple(sorted(found)), _may_number(areas))


def _sample(cases: Sequence[RawCase]) -> Iterator[np.ndarray]:
    """Pixels of masks that can be read; a damaged one is told of when its case is read."""
    for kind, read, most in ((MaskFiles, _picture, _PICTURES), (MaskSlice, _volume, _VOLUMES)):
        paths = dict.fromkeys(
            path for case in cases if isinstance(case.mask, kind) for path in case.mask.files[:1]
        )
        for path in _spread(list(paths), most):
            try:
                yield read(path)
            except InputError:
                continue


def _spread(paths: Sequence[Path], most: int) -> list[Path]:
    """At most so many, evenly over all; the first of them are, too."""
    sample = paths[:: max(1, -(-len(paths) // most))]
    first = sample[:: max(1, len(sample) // _FIRST)][:_FIRST]
    return [*first, *(path for path in sample if path not in set(first))]


def _picture(path: Path) -> np.ndarray:
    pixels, lossy = load_labels(path)
    return pixels.astype(np.float32) + 0.5 if lossy else pixels


def _volume(path: Path) -> np.ndarray:
    return read_volume(path).array


def _small_values(pixels: np.ndarray) -> list[int] | None:
    """The whole numbers but 0 that a mask holds; None where it holds others, or bright ones."""
    if pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.dtype == np.uint8:
        if not (pixels == pixels[..., :1]).all():
            return None
        pixels = pixels[..., 0]
    if pixels.dtype == bool or not pixels.size:
        return [1] if pixels.any() else []
    if not 0 <= pixels.min() <= pixels.max() < _HALF:
        return None
    values = np.unique(pixels)
    if not (values == np.floor(values)).all():
        return None
    return [int(value) for value in values if value]


def _areas(marked: np.ndarray) -> int:
    """How many areas a value has, but for specks; those of a volume are not counted: one."""
    if marked.ndim != 2:
        return 1
    return int((connected_components(marked)[1] >= _SPECK_PX).sum())


def _may_number(areas: Sequence[dict[int, int]]) -> bool:
    marked = [found for found in areas if found]
    ends = {max(found) for found in marked}
    if len(ends) < 2 or max(ends) < _FEWEST_OBJECTS:
        return False
    in_a_row = all(len(found) == max(found) for found in marked)
    several = sum(count > 1 for found in marked for count in found.values())
    return in_a_row and several * 10 <= sum(map(len, marked))
