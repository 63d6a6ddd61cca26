"""MetaImage (MHA, MHD) and NRRD: volumes read by SimpleITK, the only module that uses it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, in_one_line
from meddistill.base.files import atomic_path
from meddistill.data.formats.volume import MAX_VOXELS, Grid, Volume, canonical, sides_of

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
_HEADERS = (".mhd", ".nhdr")
_LONGEST_HEADER = 65536
_DATA_FILE = re.compile(
    r"^(?:ElementDataFile\s*=|data ?file:)\s*(\S.*)$", re.MULTILINE | re.IGNORECASE
)
_SPACING = re.compile(
    r"^(?:ElementSpacing\s*=|ElementSize\s*=|spacings:|space directions:)(.*)$",
    re.MULTILINE | re.IGNORECASE,
)
_UNITS = re.compile(r"^(?:space )?units:(.*)$", re.MULTILINE | re.IGNORECASE)
_IN_MM = {
    "mm": 1.0,
    "um": 0.001,
    "\xb5m": 0.001,
    "\xc2\xb5m": 0.001,
    "micron": 0.001,
    "microns": 0.001,
}
_IN_MM |= {"cm": 10.0, "m": 1000.0, "nm": 1e-6}
_OBJECT = re.compile(r"^\w+\(0x[0-9a-f]+\): ", re.IGNORECASE)
_BEFORE = re.compile(r"^.*itk(?:::| )ERROR: ", re.IGNORECASE)
_NO_SIDE = ("nan", "none", "")
_TO_RAS = np.diag([-1.0, -1.0, 1.0])  # ITK counts to the left and to the back


def data_files(path: Path) -> tuple[Path, ...]:
    """The files that hold the voxels of a header of its own (.mhd, .nhdr); () for any other."""
    if not path.name.lower().endswith(_HEADERS):
        return ()
    named = _DATA_FILE.search(_head(path))
    found = path.parent / named[1].strip() if named else path
    return (found,) if found != path and found.is_file() else ()


def _head(path: Path) -> str:
    """How a file begins. Raises: InputError."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_HEADER).decode("latin-1")
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from error


def _says_spacing(path: Path, dimensions: int) -> bool:
    """Whether the header says how large voxels are along its axes (three at most): ITK takes 1 mm
    where it does not."""
    told = _SPACING.search(_head(path))
    if told is None:
        return False
    numbers = [word for word in re.split(r"\s+", told[1].strip()) if word.lower() not in _NO_SIDE]
    return len(numbers) >= min(dimensions, 3)


def grid_of(path: Path) -> Grid:
    """Where the voxels of a file lie, by its header alone. Raises: InputError."""
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise FileError(path, f"is not a volume that can be read: {_said(error)}") from error
    size = reader.GetSize()
    if len(size) not in (2, 3, 4) or 0 in size or np.prod(size, dtype=float) > MAX_VOXELS:
        raise FileError(path, f"has the shape {'x'.join(map(str, size))}, expected a volume")
    channels = reader.GetNumberOfComponents() * (size[3] if len(size) == 4 else 1)
    return Grid(_three(size), _affine(reader, len(size)), channels)


def read(path: Path, channel: int) -> Volume:
    """The volume in a file, of several channels the one of that number. Raises: InputError."""
    import SimpleITK

    grid = grid_of(path)
    try:
        image = _reader(path).Execute()
    except RuntimeError as error:
        raise FileError(path, f"is damaged: {_said(error)}") from error
    # ITK's arrays count z, y, x; a fourth axis comes first, components of a voxel last.
    voxels = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        voxels = voxels[..., channel]
    elif grid.channels > 1:
        voxels = voxels[channel]
    voxels = voxels.reshape(grid.shape[::-1]).T
    assert grid.affine is not None
    array, affine = canonical(voxels, grid.affine)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    sides = sides_of(affine) if _says_spacing(path, image.GetDimension()) else None
    return Volume(array, affine, sides, path)


def is_flat(path: Path) -> bool:
    """Whether a file holds a picture of two axes, whose grid is one slice. Raises: InputError."""
    grid_of(path)  # says why it cannot be read
    reader = _reader(path)
    reader.ReadImageInformation()
    return bool(reader.GetDimension() == 2)


def write_voxels(path: Path, voxels: np.ndarray, affine: np.ndarray, flat: bool = False) -> None:
    """Write voxels (X, Y, Z) as they are stored as a compressed volume, whole or not at all; its format
    is that of the name's ending. `affine`: (4, 4) from their indices to mm in RAS+. `flat`: as a
    picture of two axes. Raises: OSError.
    """
    import SimpleITK

    image: Any = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.T))
    sides = np.array(sides_of(affine))
    image.SetSpacing(sides.tolist())
    image.SetDirection((_TO_RAS @ affine[:3, :3] @ np.diag(1 / sides)).ravel().tolist())
    image.SetOrigin((_TO_RAS @ affine[:3, 3]).tolist())
    if flat:
        image = image[:, :, 0]
    with atomic_path(path) as temporary:
        try:
            SimpleITK.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OSError(_said(error)) from error


def _reader(path: Path) -> Any:
    import SimpleITK  # slow to import

    library: Any = SimpleITK  # it has no types
    library.ProcessObject.SetGlobalWarningDisplay(False)
    reader = library.ImageFileReader()
    reader.SetFileName(str(path))
    return reader


def _affine(reader: Any, dimensions: int) -> np.ndarray:
    """(4, 4) from voxel indices to mm in RAS+; a flat image is one slice of 1 mm."""
    direction = np.eye(3)
    spacing, origin = np.ones(3), np.zeros(3)
    known = min(dimensions, 3)
    stored = np.array(reader.GetDirection()).reshape(dimensions, dimensions)
    direction[:known, :known] = stored[:known, :known]
    spacing[:known] = reader.GetSpacing()[:known]
    origin[:known] = reader.GetOrigin()[:known]
    affine = np.eye(4)
    unit = _unit_mm(Path(reader.GetFileName()))
    affine[:3, :3] = _TO_RAS @ direction @ np.diag(spacing * unit)
    affine[:3, 3] = _TO_RAS @ origin * unit
    return affine


def _unit_mm(path: Path) -> float:
    """How many mm the unit of length is in which an NRRD file counts; 1 where it does not say. Raises:
    InputError for axes in several units."""
    told = _UNITS.search(_head(path))
    units = set(re.findall(r"[^\s\"]+", told[1].lower())) & _IN_MM.keys() if told else set()
    if len({_IN_MM[unit] for unit in units}) > 1:
        raise FileError(path, f"counts in {' and in '.join(sorted(units))}, expected one unit")
    return _IN_MM[units.pop()] if units else 1.0


def _three(size: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (*size, 1)[:3]
    return x, y, z


def _said(error: RuntimeError) -> str:
    """What ITK says, without the address of its own source, and without those in memory, which are
    others in each process."""
    text = in_one_line(error)
    return _OBJECT.sub("", _BEFORE.sub("", text)).strip(": ")
