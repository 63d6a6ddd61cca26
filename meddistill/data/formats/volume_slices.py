"""Volumes of any format cut into slices: as images, and as masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, InputError
from meddistill.data.formats import itk, nifti, pages
from meddistill.data.formats.known_volume_formats import reader_of
from meddistill.data.formats.slicer_segments import SlicerSegments, segments_of
from meddistill.data.formats.volume import (
    Grid,
    Volume,
    axes_in_world,
    canonical,
    resampled,
    uncanonical,
)
from meddistill.data.intensity import percentile_limits
from meddistill.data.masks import INSTANCES, FindingValues, Labels, chosen, numbered_apart
from meddistill.data.raw_case import MaskRef, OneFile, Picture


@dataclasses.dataclass(frozen=True)
class _OneVolume(OneFile):
    """A volume's file, and the one that holds its voxels where that is another."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, *_data_files(self.path))


@lru_cache(maxsize=16)
def _data_files(path: Path) -> tuple[Path, ...]:
    try:
        return itk.data_files(path)
    except InputError:
        return ()  # reading it says why


AXES = ("sagittal", "coronal", "axial")
"""What slices across each axis are called; a case's `source` names its slice so (`ct.nii.gz#axial12`)."""


@dataclasses.dataclass(frozen=True)
class VolumeSlice(_OneVolume):
    """One slice of a volume in the canonical frame (RAS+): axis 0 sagittal, 1 coronal, 2 axial;
    `channel` of one that has several.

    The image lies as radiologists look at it: patient's front (or head) at the top, right side at
    the left. `told_mm`: spacing (row, column, slice) by a table, for a file that says none.
    """

    axis: int
    index: int
    channel: int = 0
    told_mm: tuple[float, float, float | None] | None = None

    @property
    def token(self) -> str:
        place = f"axis {self.axis} slice {self.index} channel {self.channel}"
        return f"{place} spacing {self.told_mm}" if self.told_mm else place

    def size_hw(self) -> tuple[int, int]:
        across, down = self._plane
        return extent(self.path, down)[0], extent(self.path, across)[0]

    @property
    def _plane(self) -> tuple[int, int]:
        """The canonical axes that run across the picture and down."""
        across, down = (axis for axis in range(3) if axis != self.axis)
        return across, down

    def load(self) -> Picture:
        key = (self.path, _stamp(self.path), self.channel)
        volume, limits = _LAST_VOLUME.get(key, lambda: _load_volume(self.path, self.channel))
        across, down = self._plane
        row, column, step = self.told_mm or (None, None, None)
        if sides := volume.spacing:
            row, column, step = sides[down], sides[across], sides[self.axis]
        return Picture(
            _cut(volume.array, self.axis, self.index),
            None if row is None or column is None else (row, column),
            volume_limits=limits,
            slice_mm=step,
        )


@dataclasses.dataclass(frozen=True)
class MaskSlice(_OneVolume):
    """The same slice of a mask volume; `labels` as in `masks.read_mask`. `image`: the volume onto whose
    grid the mask is brought by the nearest voxel, where it has one of its own, or, with `by_voxel`, whose
    voxels are the mask's in the order in which both are stored, wherever the mask says that they lie.
    `together`: the mask files of one volume, a finding each, whose slices are read in turns."""

    axis: int
    index: int
    labels: Labels = None
    image: Path | None = None
    together: tuple[Path, ...] = ()
    by_voxel: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        return (*super().files, *([self.image] if self.image else []))

    @property
    def token(self) -> str:
        told = f"axis {self.axis} slice {self.index} labels {self.labels}"
        if self.image is None:
            return told
        return f"{told} by voxel" if self.by_voxel else f"{told} resampled"

    def load(self) -> np.ndarray:
        stamps = [_stamp(path) for path in (self.path, self.image) if path]
        key = (self.path, self.image, *stamps, self.labels, self.by_voxel)
        voxels = _LAST_MASK.get(
            key,
            lambda: _load_mask(self.path, self.labels, self.image, self.by_voxel),
            self.together,
        )
        count = voxels.shape[-3:][self.axis]
        if self.index >= count:
            raise FileError(
                self.path,
                f"has {count} slices along axis {self.axis}, fewer than the image",
                "mask ",
            )
        if voxels.ndim == 3:
            return _cut(voxels, self.axis, self.index)
        return np.stack([_cut(each, self.axis, self.index) for each in voxels])


def is_resampled(mask: MaskRef) -> bool:
    """Whether a mask is brought onto the grid of its image."""
    return isinstance(mask, MaskSlice) and mask.image is not None and not mask.by_voxel


def _cut(voxels: np.ndarray, axis: int, index: int) -> np.ndarray:
    # RAS+ counts to the right, front and top; pictures count down, and show the patient's right
    # side at the left.
    # A view: `np.take` would copy a whole volume that is not in C order, for every slice.
    cut = voxels[(slice(None),) * axis + (index,)]
    return np.ascontiguousarray(cut[::-1, ::-1].T)


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of change: a file that is written again is read again."""
    try:
        status = path.stat()
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from error
    return status.st_size, status.st_mtime_ns


class _Last:
    """What was loaded last by what it was loaded for: a process reads the slices of one volume one
    after the other. It is let go before the next is loaded: two in memory serve nothing. What is of
    one `family` stays together. One that cannot be read is not tried again for each of its slices."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}
        self._family: Hashable = ()

    def get(self, key: Hashable, load: Callable[[], Any], family: Hashable = ()) -> Any:
        if key not in self._found:
            if not family or family != self._family:
                self._found.clear()
            self._family = family
            try:
                self._found[key] = load()
            except InputError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, InputError):
            raise found.with_traceback(None)
        return found


_LAST_VOLUME, _LAST_MASK = _Last(), _Last()


def _load_volume(path: Path, channel: int) -> tuple[Volume, tuple[float, float]]:
    volume = read_volume(path, channel)
    return volume, percentile_limits(volume.array)


def _load_mask(path: Path, labels: Labels, image: Path | None, by_voxel: bool) -> np.ndarray:
    # The whole volume decides what its values mean: a slice that has label 1 alone must not pass
    # for black and white.
    segments = segments_of(path)
    if segments is not None and segments.layered:
        return _of_layers(segments, labels, image, by_voxel)
    if (channels := grid_of(path).channels) > 1:
        raise FileError(path, f"holds {channels} volumes along its fourth axis, not one", "mask ")
    voxels = _brought(path, 0, image, by_voxel)
    # In the order in which they lie: another one copies all of them, now and at every slice.
    axes = sorted(range(3), key=lambda axis: -abs(voxels.strides[axis]))
    lying = voxels.transpose(axes)
    found = chosen(lying.reshape(1, -1), labels, name=f"mask {path.name}")
    planes = found.reshape(-1, *lying.shape).transpose(0, *(1 + np.argsort(axes)))
    return planes if found.ndim > 2 else planes[0]


def _brought(path: Path, channel: int, image: Path | None, by_voxel: bool) -> np.ndarray:
    """The voxels of a mask, as its image has them. See `MaskSlice`."""
    mask = read_volume(path, channel)
    if image is None:
        return mask.array
    if by_voxel:
        return canonical(uncanonical(mask.array, _affine_of(path)), _affine_of(image))[0]
    return resampled(mask, *_canonical_grid(image))


def _of_layers(
    segments: SlicerSegments, labels: Labels, image: Path | None, by_voxel: bool
) -> np.ndarray:
    """The segments of a file of 3D Slicer in which they overlap, by their numbers, as `chosen` has them
    of a label map."""
    if isinstance(labels, FindingValues):
        return np.stack([_of_layers(segments, each, image, by_voxel) for each in labels.values])
    wanted = [n for n in segments.places if not isinstance(labels, tuple) or n in labels]
    layers: dict[int, np.ndarray] = {}
    planes = []
    for number in wanted or list(segments.places)[:1]:
        layer, value = segments.places[number]
        if not 0 <= layer < (count := grid_of(segments.path).channels):
            told = f"names a segment in layer {layer} and holds {count}"
            raise FileError(segments.path, told, "mask ")
        if layer not in layers:
            layers = {layer: _brought(segments.path, layer, image, by_voxel)}
        planes.append((layers[layer] == value) & bool(wanted))
    if labels == INSTANCES:
        return numbered_apart(planes, planes[0].shape, segments.path.name)
    return np.asarray(np.logical_or.reduce(planes))


def _canonical_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    # Strides of nothing: only the shape counts.
    voxels = np.broadcast_to(np.uint8(0), grid_of(path).shape)
    voxels, affine = canonical(voxels, _affine_of(path))
    return voxels.shape, affine


def _affine_of(path: Path) -> np.ndarray:
    affine = grid_of(path).affine
    if affine is None:
        raise FileError(path, "does not say where it lies: no mask can be brought onto it")
    return affine


def read_volume(path: Path, channel: int = 0) -> Volume:
    """The volume in a file of any format that is known. Raises: InputError."""
    volume = reader_of(path).read(path, channel)
    if np.iscomplexobj(volume.array) or volume.array.dtype.names:
        raise FileError(path, f"holds {volume.array.dtype}, expected real numbers")
    return volume


def grid_of(path: Path) -> Grid:
    """Where the voxels of a file lie, by its header alone. Raises: InputError."""
    return _grid_of(path, _stamp(path))


@lru_cache(maxsize=8)
def _grid_of(path: Path, stamp: tuple[int, int]) -> Grid:
    # Asked for several times while a volume is listed, of image and mask; `stamp`: as `_stamp` has it.
    return reader_of(path).grid_of(path)


def extent(path: Path, axis: int) -> tuple[int, int]:
    """Slices across a canonical axis, and channels. Raises: InputError."""
    grid = grid_of(path)
    if grid.affine is None:
        return grid.shape[axis], grid.channels
    try:
        return grid.shape[axes_in_world(grid.affine)[0][axis]], grid.channels
    except InputError as error:
        raise FileError(path, f"cannot be cut: {error}") from None


def slices_of(path: Path, axis: int = 2, channel: int | None = None) -> list[VolumeSlice]:
    """All slices of a volume across a canonical axis (2 axial), of a file that holds several volumes
    that one of number `channel`. Raises: InputError."""
    count, channels = extent(path, axis)
    number = channel_number(path, channels, channel)
    return [VolumeSlice(path, axis, index, number) for index in range(count)]


def channel_number(path: Path, channels: int, chosen: int | None) -> int:
    """Which of the volumes that a file holds is meant by the number `chosen`; None, of a file of one:
    that one. Raises: FileError where it must be chosen, or is not there."""
    if channels > 1 and chosen is None:
        raise FileError(
            path,
            f"holds {channels} volumes along its fourth axis; choose one with --channel "
            f"(0 to {channels - 1})",
        )
    number = chosen or 0
    if not 0 <= number < channels:
        there = f"only 0 to {channels - 1}" if channels > 1 else "it is one volume"
        raise FileError(path, f"has no volume {number} (--channel): {there}")
    return number


class VolumeFormat:
    """An `ImageFormat`: axial slices of the volumes whose files have one of the endings."""

    is_volume = True

    def __init__(self, name: str, suffixes: tuple[str, ...]) -> None:
        self.name = name
        self.suffixes = suffixes

    def claims(self, path: Path) -> bool:
        return path.name.lower().endswith(self.suffixes)

    def images(self, path: Path) -> list[VolumeSlice]:
        return slices_of(path)

    def mask(self, path: Path, index: int, labels: Labels) -> MaskSlice:
        return MaskSlice(path, 2, index, labels)


class PagesFormat(VolumeFormat):
    """TIFF files of several pages, a page a slice; one of a single page is a picture."""

    def __init__(self) -> None:
        super().__init__("pages", ())

    def claims(self, path: Path) -> bool:
        return pages.are_in(path)


PAGES = PagesFormat()
NIFTI = VolumeFormat("nifti", nifti.SUFFIXES)
ITK = VolumeFormat("itk", itk.SUFFIXES)
