"""NIfTI: volumes read as slices, and slices written as a volume. Uses nibabel."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import InputError, MissingPackageError, in_one_line
from meddistill.base.files import atomic_path
from meddistill.data.intensity import percentile_limits
from meddistill.data.masks import Label, binarise, select_labels
from meddistill.data.raw_case import OneFile, Picture

MAX_VOXELS = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class VolumeSlice(OneFile):
    """One slice of a volume in the canonical frame (RAS+): axis 0 sagittal, 1 coronal, 2 axial;
    `channel` of a 4D one.

    The image lies as radiologists look at it: patient's front (or head) at the top, right side at
    the left.
    """

    axis: int
    index: int
    channel: int = 0

    @property
    def token(self) -> str:
        return f"axis {self.axis} slice {self.index} channel {self.channel}"

    def load(self) -> Picture:
        voxels, sides_mm, limits = _load_volume(self.path, _stamp(self.path), self.channel)
        across, down = (axis for axis in range(3) if axis != self.axis)
        return Picture(
            _cut(voxels, self.axis, self.index),
            (sides_mm[down], sides_mm[across]),
            volume_limits=limits,
        )


@dataclasses.dataclass(frozen=True)
class MaskSlice(OneFile):
    """The same slice of a mask volume; `labels` as in `masks.read_mask`."""

    axis: int
    index: int
    labels: tuple[Label, ...] | str | None = None

    @property
    def token(self) -> str:
        return f"axis {self.axis} slice {self.index} labels {self.labels}"

    def load(self) -> np.ndarray:
        voxels = _load_mask(self.path, _stamp(self.path), self.labels)
        if self.index >= voxels.shape[self.axis]:
            raise InputError(
                f"mask volume has {voxels.shape[self.axis]} slices along axis {self.axis}, fewer "
                "than the image"
            )
        return _cut(voxels, self.axis, self.index)


def _cut(voxels: np.ndarray, axis: int, index: int) -> np.ndarray:
    # RAS+ counts to the right, front and top; pictures count down, and show the patient's right
    # side at the left.
    return np.ascontiguousarray(np.take(voxels, index, axis=axis)[::-1, ::-1].T)


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of change: a file that is written again is read again."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror or error}") from error
    return status.st_size, status.st_mtime_ns


# A process reads the slices of one volume one after the other; more than one volume in memory
# serves nothing.
@lru_cache(maxsize=1)
def _load_volume(
    path: Path, stamp: tuple[int, int], channel: int
) -> tuple[np.ndarray, tuple[float, ...], tuple[float, float]]:
    voxels, sides_mm = _read_volume(path, channel)
    return voxels, sides_mm, percentile_limits(voxels)


@lru_cache(maxsize=1)
def _load_mask(
    path: Path, stamp: tuple[int, int], labels: tuple[Label, ...] | str | None
) -> np.ndarray:
    # The whole volume decides what its values mean: a slice that has label 1 alone must not pass
    # for black and white.
    voxels, _ = _read_volume(path, 0)
    flat = voxels.reshape(1, -1)
    chosen = binarise(flat, name=path.name) if labels is None else select_labels(flat, labels)
    return chosen.reshape(voxels.shape)


def _read_volume(path: Path, channel: int) -> tuple[np.ndarray, tuple[float, ...]]:
    """Voxels (X, Y, Z) in the canonical frame (RAS+) and their sides in mm."""
    nibabel, image = _open(path)
    try:
        if len(image.shape) == 4:
            image = image.slicer[..., channel]
        canonical = nibabel.as_closest_canonical(image)
        voxels = np.asanyarray(canonical.dataobj)
        sides_mm = tuple(float(side) for side in canonical.header.get_zooms()[:3])
    except Exception as error:  # nibabel and zlib raise a dozen types on damaged files
        raise InputError(f"{path.name} is damaged: {in_one_line(error)}") from error
    if np.iscomplexobj(voxels) or voxels.dtype.names:
        raise InputError(f"{path.name} holds {voxels.dtype}, expected real numbers")
    if voxels.dtype == np.float64:
        voxels = voxels.astype(np.float32)
    return voxels, sides_mm


def _open(path: Path) -> tuple[Any, Any]:
    try:
        import nibabel
    except ImportError:
        raise MissingPackageError(
            "reading NIfTI needs nibabel: pip install 'meddistill[nifti]'"
        ) from None
    try:
        image = nibabel.load(path, mmap=False)  # a mapped file that shrinks would kill the process
    except Exception as error:  # see above
        raise InputError(f"{path.name} is not a NIfTI volume: {in_one_line(error)}") from error
    if (
        len(image.shape) not in (3, 4)
        or 0 in image.shape
        or np.prod(image.shape, dtype=float) > MAX_VOXELS
    ):
        raise InputError(
            f"{path.name} has the shape {'x'.join(map(str, image.shape))}, expected a volume"
        )
    return nibabel, image


def extent(path: Path, axis: int) -> tuple[int, int]:
    """Slices across a canonical axis, and channels (1 where there is no fourth axis). Raises:
    InputError."""
    nibabel, image = _open(path)
    channels = image.shape[3] if len(image.shape) == 4 else 1
    return image.shape[_stored_axis(nibabel, image, axis)], channels


def slices_of(path: Path, axis: int = 2) -> list[VolumeSlice]:
    """All slices of a three-dimensional volume across a canonical axis (2 axial). Raises:
    InputError."""
    nibabel, image = _open(path)
    if len(image.shape) == 4 and image.shape[3] > 1:
        raise InputError(f"{path.name} has {image.shape[3]} channels, expected one volume")
    count = image.shape[_stored_axis(nibabel, image, axis)]
    return [VolumeSlice(path, axis, index) for index in range(count)]


def write_slices(path: Path, source: Path, maps: Sequence[np.ndarray], axis: int = 2) -> None:
    """Write one map (H, W) for each of `slices_of(source)` as a volume with the source's shape and
    affine, whole or not at all.

    Args:
        path: the file to write; ends in .nii.gz.
        source: the volume that the maps are of.
        maps: masks uint8, or probabilities float32.
        axis: the canonical axis that the slices lie across.
    """
    nibabel, image = _open(source)
    # The other way round from `_cut`, then from the canonical frame to the one that the source is
    # stored in.
    canonical = np.stack([np.asarray(each).T[::-1, ::-1] for each in maps], axis=axis)
    stored = nibabel.io_orientation(image.affine)
    back = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), stored)
    voxels = nibabel.orientations.apply_orientation(canonical, back)
    written = nibabel.Nifti1Image(voxels, image.affine)
    written.header.set_xyzt_units(*image.header.get_xyzt_units())
    for form in ("sform", "qform"):
        getattr(written, f"set_{form}")(image.affine, int(image.header[f"{form}_code"]))
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(written.to_bytes(), compresslevel=5, mtime=0))


def _stored_axis(nibabel: Any, image: Any, axis: int) -> int:
    """Which stored axis a canonical one is. Raises: InputError for an affine that does not say."""
    orientation = nibabel.io_orientation(image.affine)[:, 0]
    if np.isnan(orientation).any():
        raise InputError(f"{Path(image.get_filename()).name} has an affine without an orientation")
    return int(np.flatnonzero(orientation == axis)[0])


class NiftiFormat:
    """An `ImageFormat`: axial slices of a volume."""

    name = "nifti"
    suffixes: tuple[str, ...] = (".nii.gz", ".nii")
    is_volume = True

    def claims(self, path: Path) -> bool:
        return path.name.lower().endswith(self.suffixes)

    def images(self, path: Path) -> list[VolumeSlice]:
        return slices_of(path)

    def mask(self, path: Path, index: int, labels: tuple[Label, ...] | str | None) -> MaskSlice:
        return MaskSlice(path, 2, index, labels)
