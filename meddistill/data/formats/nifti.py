"""NIfTI: volumes read, and slices of a volume of any format written as one. Uses nibabel."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, MissingPackageError, in_one_line
from meddistill.base.files import atomic_path
from meddistill.data.formats.volume import MAX_VOXELS, Grid, Volume, sides_of

SUFFIXES = (".nii.gz", ".nii")
_FLAT = 1e-6
"""Share of the volume of a box of its sides below which a voxel has none."""
_SAME_SIDE = 1e-3
"""Share of a side by which both places of a header that say it may differ."""
_UNITS = 7
"""The bits of `xyzt_units` that are of space."""
_IN_MM = {1: 1000.0, 3: 0.001}
"""Of metres and micrometres; all other codes are taken for millimetres."""


def read(path: Path, channel: int) -> Volume:
    """The volume in a file, of a fourth axis the one of that number. Raises: InputError."""
    nibabel, image = _open(path)
    try:
        if len(image.shape) == 4:
            image = image.slicer[..., channel]
        if len(image.shape) == 2:
            one_slice = np.asanyarray(image.dataobj)[..., None]
            image = nibabel.Nifti1Image(one_slice, image.affine, image.header)
        canonical = nibabel.as_closest_canonical(image)
        voxels = np.asanyarray(canonical.dataobj)
        affine = _affine_mm(canonical)
        x, y, z = _sides(canonical, affine)
    except Exception as error:  # nibabel and zlib raise a dozen types on damaged files
        raise FileError(path, f"is damaged: {_said(error, path)}") from error
    if min(x, y, z) <= 0 or not np.isfinite([x, y, z]).all():
        raise FileError(path, f"says that a voxel is {x:g} x {y:g} x {z:g} mm")
    if voxels.dtype == np.float64:
        voxels = voxels.astype(np.float32)
    return Volume(voxels, affine, (x, y, z), path)


def _said(error: Exception, path: Path) -> str:
    """What nibabel says, which may repeat the path."""
    return in_one_line(error).replace(str(path), path.name)


def _affine_mm(image: Any) -> np.ndarray:
    """Its affine, in mm whatever unit the file counts in."""
    affine = np.array(image.affine)
    affine[:3] *= _unit_mm(image.header)
    return affine


def _unit_mm(header: Any) -> float:
    return _IN_MM.get(int(header["xyzt_units"]) & _UNITS, 1.0)


def _sides(image: Any, affine: np.ndarray) -> tuple[float, float, float]:
    """The sides of a voxel in mm by the header, by the affine where both differ: that is what the file's
    masks are written with, and what other programs measure by."""
    unit = _unit_mm(image.header)
    told = tuple(float(side) * unit for side in image.header.get_zooms()[:3])
    meant = sides_of(affine)
    return told if np.allclose(told, meant, rtol=_SAME_SIDE, atol=0) else meant  # type: ignore[return-value]


def grid_of(path: Path) -> Grid:
    """Where the voxels of a file lie, by its header alone. Raises: InputError."""
    nibabel, image = _open(path)
    if not np.isfinite(image.affine).all():
        raise FileError(path, "has an affine with a number that is not finite; mend its header")
    turned = image.affine[:3, :3]
    if (
        np.isnan(nibabel.io_orientation(image.affine)[:, 0]).any()
        or abs(np.linalg.det(turned)) < _FLAT * np.linalg.norm(turned, axis=0).prod()
    ):
        raise FileError(
            path,
            "has an affine without an orientation: a spacing of 0, or axes that fall "
            "together; mend its header",
        )
    x, y, z = (*image.shape, 1)[:3]
    channels = image.shape[3] if len(image.shape) == 4 else 1
    return Grid((x, y, z), _affine_mm(image), channels)


def _open(path: Path) -> tuple[Any, Any]:
    nibabel = _nibabel()
    try:
        image = nibabel.load(path, mmap=False)  # a mapped file that shrinks would kill the process
    except Exception as error:  # see above
        raise FileError(path, f"is not a NIfTI volume: {_said(error, path)}") from error
    if (
        len(image.shape) not in (2, 3, 4)
        or 0 in image.shape
        or np.prod(image.shape, dtype=float) > MAX_VOXELS
    ):
        raise FileError(path, f"has the shape {'x'.join(map(str, image.shape))}, expected a volume")
    _check_sides(path, image)
    return nibabel, image


def _check_sides(path: Path, image: Any) -> None:
    """nibabel takes a spacing of 0 for 1 mm. Raises: InputError where the header has one that counts."""
    try:
        if int(image.header["sform_code"]):
            return  # the affine is written out there
        with image.file_map["image"].get_prepare_fileobj("rb") as file:
            stored = type(image.header).from_fileobj(file, check=False)
        sides = [float(side) for side in stored["pixdim"][1:4]]
    except Exception as error:  # see above
        raise FileError(path, f"is not a NIfTI volume: {_said(error, path)}") from error
    if 0 in sides:
        told = " x ".join(f"{side:g}" for side in sides)
        raise FileError(path, f"says that a voxel is {told} mm; mend its header")


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError:
        raise MissingPackageError(
            "reading NIfTI needs nibabel: pip install 'meddistill[nifti]'"
        ) from None
    return nibabel


def write_slices(
    path: Path, grid: Grid, maps: Sequence[np.ndarray], source: Path | None = None, axis: int = 2
) -> None:
    """Write one map (H, W) for each slice across a canonical axis as a volume that lies where `grid`
    says, whole or not at all.

    Args:
        path: the file to write; ends in .nii.gz.
        grid: of the volume that the maps are of.
        maps: masks uint8, or probabilities float32.
        source: the NIfTI file of that volume, whose units and codes are taken over.
        axis: the canonical axis that the slices lie across.
    """
    affine = np.eye(4) if grid.affine is None else grid.affine
    # The other way round from `volume_slices._cut`, then from the canonical frame to the one that
    # the source is stored in.
    canonical = np.stack([np.asarray(each).T[::-1, ::-1] for each in maps], axis=axis)
    nibabel = _nibabel()
    stored = nibabel.io_orientation(affine)
    back = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), stored)
    voxels = nibabel.orientations.apply_orientation(canonical, back)
    write_voxels(path, voxels, affine, source)


def write_voxels(
    path: Path, voxels: np.ndarray, affine: np.ndarray, source: Path | None = None
) -> None:
    """Write voxels (X, Y, Z) as they are stored, whole or not at all.

    Args:
        path: the file to write; ends in .nii.gz.
        voxels: uint8 or float32.
        affine: (4, 4) from their indices to mm in RAS+.
        source: a NIfTI file whose units and codes are taken over, and that it is flat.
    """
    nibabel = _nibabel()
    header = None if source is None else _open(source)[1].header
    if header is not None and len(header.get_data_shape()) == 2:
        voxels = voxels[..., 0]
    if header is not None and (unit := _unit_mm(header)) != 1:
        affine = np.concatenate([affine[:3] / unit, affine[3:]])
    written = nibabel.Nifti1Image(voxels, affine)
    if header is not None:
        written.header["xyzt_units"] = header["xyzt_units"]
        for form in ("sform", "qform"):
            getattr(written, f"set_{form}")(affine, int(header[f"{form}_code"]))
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(written.to_bytes(), compresslevel=5, mtime=0))
