"""DICOM: the frames of a file, as images and as masks. Uses pydicom."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import InputError, MissingPackageError, in_one_line
from meddistill.data.formats.pictures import MAX_PIXELS
from meddistill.data.masks import Label, binarise, select_labels
from meddistill.data.raw_case import OneFile, Picture

_MAGIC_AT = 128
_MOST_FRAMES = 100_000


@contextlib.contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """pydicom reads an element when it is asked for, and raises a dozen types where that is
    damaged."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path.name} is damaged: {in_one_line(error)}") from error


def _read(path: Path, header_only: bool = False) -> Any:
    try:
        import pydicom
    except ImportError:
        raise MissingPackageError(
            "reading DICOM needs pydicom: pip install 'meddistill[dicom]'"
        ) from None
    try:
        return pydicom.dcmread(path, stop_before_pixels=header_only, force=False)
    except Exception as error:  # pydicom raises a dozen types on damaged files
        raise InputError(f"{path.name} is not a DICOM file: {in_one_line(error)}") from error


def _pixels(path: Path, frame: int) -> tuple[Any, np.ndarray]:
    """The data set, and pixels of one frame: stored values (H, W), or 8-bit RGB (H, W, 3)."""
    from pydicom.pixels import apply_color_lut, pixel_array

    data = _read(path)
    with _naming_damage(path):
        rows, columns = int(data.get("Rows", 0)), int(data.get("Columns", 0))
    if not 0 < rows * columns <= MAX_PIXELS:
        raise InputError(f"{path.name} is {columns}x{rows} pixels")
    try:
        pixels = pixel_array(data, index=frame)
        if data.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, data)
            pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    except Exception as error:  # also a compression whose decoder is not installed
        raise InputError(f"{path.name}: its pixels cannot be read: {in_one_line(error)}") from error
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InputError(f"{path.name}: pixels of shape {pixels.shape} are no image")
    return data, pixels


@dataclasses.dataclass(frozen=True)
class DicomImage(OneFile):
    """One frame: modality values (Hounsfield units for CT), with the window that the file asks
    for.
    """

    frame: int = 0

    @property
    def token(self) -> str:
        return f"frame {self.frame}"

    def load(self) -> Picture:
        data, pixels = _pixels(self.path, self.frame)
        with _naming_damage(self.path):
            spacing = _spacing(data)
            if pixels.ndim == 3:
                return Picture(pixels, spacing)
            from pydicom.pixels import apply_modality_lut

            values = np.asarray(apply_modality_lut(pixels, data), dtype=np.float32)
            return Picture(
                values,
                spacing,
                _window(data),
                inverted=data.PhotometricInterpretation == "MONOCHROME1",
            )


@dataclasses.dataclass(frozen=True)
class DicomMask(OneFile):
    """A mask stored as DICOM; `labels` as in `masks.read_mask`."""

    frame: int = 0
    labels: tuple[Label, ...] | str | None = None

    @property
    def token(self) -> str:
        return f"frame {self.frame} labels {self.labels}"

    def load(self) -> np.ndarray:
        pixels = _pixels(self.path, self.frame)[1]
        return (
            binarise(pixels, name=self.path.name)
            if self.labels is None
            else select_labels(pixels, self.labels)
        )


def _spacing(data: Any) -> tuple[float, float] | None:
    """Row and column spacing in mm, or None."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        value = data.get(name)
        if value is not None and len(value) == 2 and all(float(side) > 0 for side in value):
            return float(value[0]), float(value[1])
    return None


def _window(data: Any) -> tuple[float, float] | None:
    """(low, high) of the file's first window by DICOM PS3.3 C.11.2.1.2; None where it has none."""
    center, width = data.get("WindowCenter"), data.get("WindowWidth")
    if center is None or width is None:
        return None
    try:
        center, width = (float(np.ravel(value)[0]) for value in (center, width))
    except (TypeError, ValueError, IndexError):
        return None
    if data.get("VOILUTFunction", "LINEAR") == "LINEAR":
        center, width = center - 0.5, width - 1
    return (center - width / 2, center + width / 2) if width > 0 else None


def is_dicom(path: Path) -> bool:
    """Whether the file has the mark that DICOM files have after 128 bytes."""
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def frames_of(path: Path) -> list[DicomImage]:
    """The images in one DICOM file, in their order. Raises: InputError."""
    return [
        DicomImage(path, frame)
        for frame in range(_frame_count(path, _read(path, header_only=True)))
    ]


def header_facts(path: Path) -> tuple[int, str]:
    """Number of frames, and PatientID (may be empty). Raises: InputError."""
    data = _read(path, header_only=True)
    count = _frame_count(path, data)
    with _naming_damage(path):
        return count, str(data.get("PatientID") or "")


def _frame_count(path: Path, data: Any) -> int:
    with _naming_damage(path):
        if "Rows" not in data:
            raise InputError(f"{path.name} holds no image")
        count = int(data.get("NumberOfFrames") or 1)
    if not 0 < count <= _MOST_FRAMES:
        raise InputError(f"{path.name} says that it holds {count} frames")
    return count


class DicomFormat:
    """An `ImageFormat`: known by its mark, as scanners write files without a suffix."""

    name = "dicom"
    suffixes: tuple[str, ...] = (".dcm", ".dicom", ".ima")
    is_volume = False

    def claims(self, path: Path) -> bool:
        return is_dicom(path)

    def images(self, path: Path) -> list[DicomImage]:
        return frames_of(path)

    def mask(self, path: Path, index: int, labels: tuple[Label, ...] | str | None) -> DicomMask:
        return DicomMask(path, index, labels)
