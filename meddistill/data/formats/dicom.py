"""DICOM: the frames of a file, as images and as masks. Uses pydicom."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, InputError, MissingPackageError, in_one_line
from meddistill.data.formats.dicom_classes import CONTOURS, SEGMENTATIONS, no_picture
from meddistill.data.formats.dicom_placement import Placement, placements_of
from meddistill.data.formats.picture_limits import MAX_PIXELS
from meddistill.data.masks import Labels, chosen
from meddistill.data.raw_case import OneFile, Picture

_MAGIC_AT = 128
_MOST_FRAMES = 100_000
_VALUE_KINDS = (
    "AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OW PN SH SL SQ SS ST TM UI UL UN US UT"
)


@contextlib.contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """pydicom reads an element when it is asked for, and raises a dozen types where that is
    damaged."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise FileError(path, f"is damaged: {in_one_line(error)}") from error


def read_dataset(path: Path, header_only: bool = False) -> Any:
    """A file as pydicom reads it. Raises: InputError, MissingPackageError."""
    try:
        import pydicom
    except ImportError:
        raise MissingPackageError(
            "reading DICOM needs pydicom: pip install 'meddistill[dicom]'"
        ) from None
    try:
        force = not _has_mark(path) and _starts_like_a_data_set(path)
        data = pydicom.dcmread(path, stop_before_pixels=header_only, force=force)
        if (
            "TransferSyntaxUID" not in data.file_meta
        ):  # a bare data set does not say how it is packed
            data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
            if not data.original_encoding[0]:
                data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        return data
    except Exception as error:  # pydicom raises a dozen types on damaged files
        raise FileError(path, f"is not a DICOM file: {in_one_line(error)}") from error


def _read_whole(path: Path, size: int, changed_ns: int) -> Any:
    return read_dataset(path)


# The frames of one file are asked for one after the other, of an image and of its mask in turns: each
# file is then read once.
_last_image, _last_mask = (functools.lru_cache(maxsize=1)(_read_whole) for _ in range(2))


def read_pixels(
    path: Path, frame: int, of_mask: bool = False, in_colour: bool = True
) -> tuple[Any, np.ndarray]:
    """The data set, and pixels of one frame: stored values (H, W), or 8-bit RGB (H, W, 3) as where it
    has a palette and is wanted `in_colour`."""
    from pydicom.pixels import apply_color_lut, pixel_array

    status = path.stat()
    read = _last_mask if of_mask else _last_image
    data = read(path, status.st_size, status.st_mtime_ns)
    with naming_damage(path):
        rows, columns = int(data.get("Rows", 0)), int(data.get("Columns", 0))
    if not 0 < rows * columns <= MAX_PIXELS:
        raise FileError(path, f"is {columns}x{rows} pixels")
    try:
        pixels = pixel_array(data, index=frame)
        if in_colour and data.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, data)
            pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    except Exception as error:  # also a compression whose decoder is not installed
        raise FileError(path, f"has pixels that cannot be read: {in_one_line(error)}") from error
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise FileError(path, f"holds pixels of shape {pixels.shape}, which are no image")
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

    def size_hw(self) -> tuple[int, int]:
        return read_header(self.path).size_hw

    def load(self) -> Picture:
        data, pixels = read_pixels(self.path, self.frame)
        with naming_damage(self.path):
            said = _said_of_frame(data, self.frame)
            spacing = _spacing(said)
            if pixels.ndim == 3:
                return Picture(pixels, spacing)
            from pydicom.pixels import apply_modality_lut

            values = np.asarray(apply_modality_lut(pixels, said))
            as_stored = pixels.dtype == np.uint8 and np.array_equal(values, pixels)
            values = pixels if as_stored else values.astype(np.float32)
            return Picture(
                values,
                spacing,
                _window(said),
                inverted=data.PhotometricInterpretation == "MONOCHROME1",
                scanner_8bit=as_stored,
            )


@dataclasses.dataclass(frozen=True)
class DicomMask(OneFile):
    """A mask stored as DICOM; `labels` as in `masks.read_mask`."""

    frame: int = 0
    labels: Labels = None

    @property
    def token(self) -> str:
        return f"frame {self.frame} labels {self.labels}"

    def load(self) -> np.ndarray:
        pixels = read_pixels(self.path, self.frame, of_mask=True)[1]
        return chosen(pixels, self.labels, name=self.path.name)


_OF_FRAMES = {
    "PixelMeasuresSequence": ("PixelSpacing", "ImagerPixelSpacing"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
"""Where an enhanced file says what others say at their top (DICOM PS3.3 C.7.6.16.2)."""


def _said_of_frame(data: Any, frame: int) -> Any:
    """A data set of what is said of how large and how bright a frame's pixels are: by the file, else
    by the frame's functional groups, else by those that all frames share."""
    from pydicom.dataset import Dataset

    groups = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    places = [*groups[frame : frame + 1], *(data.get("SharedFunctionalGroupsSequence") or [])]
    found = Dataset()
    for sequence, names in _OF_FRAMES.items():
        holders = [data, *(holder for place in places for holder in place.get(sequence) or ())]
        for name in names:
            for holder in holders:
                if name in holder and holder[name].value is not None:  # some empty what they hide
                    setattr(found, name, holder[name].value)
                    break
    return found


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
    """Whether the file has the mark that DICOM files have after 128 bytes, or begins like a data set
    that was written without those."""
    return _has_mark(path) or _starts_like_a_data_set(path)


def _has_mark(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def _starts_like_a_data_set(path: Path) -> bool:
    """Whether the first element is of group 0002 or 0008 and has a length that fits."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return False
    if len(head) < 8 or head[:2] not in (b"\x02\0", b"\x08\0") or head[3] != 0:
        return False
    explicit = head[4:6].decode("latin-1") in _VALUE_KINDS.split()
    return explicit or int.from_bytes(head[4:8], "little") <= 64


@dataclasses.dataclass(frozen=True)
class Header:
    """What a DICOM file says of itself: `frames` of `size_hw` px, the patient, its own `uid` and that
    of its series; `is_segmentation`: its frames are masks of other files; `no_picture`: what it is
    instead, where it holds none; `placed`: where each frame lies, () where it does not say;
    `burned_in`: it says that text is written into its pixels; `is_contours`: it holds lines on other
    images in place of pixels; `study`: the UID of the study."""

    frames: int
    size_hw: tuple[int, int]
    patient: str
    uid: str
    series: str
    is_segmentation: bool
    no_picture: str = ""
    placed: tuple[Placement, ...] = ()
    burned_in: bool = False
    is_contours: bool = False
    study: str = ""


def read_header(path: Path) -> Header:
    """Raises: InputError."""
    data = read_dataset(path, header_only=True)
    with naming_damage(path):
        kind = str(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID") or "")
        patient, uid = str(data.get("PatientID") or ""), str(data.get("SOPInstanceUID") or "")
        series = str(data.get("SeriesInstanceUID") or "")
        study = str(data.get("StudyInstanceUID") or "")
    if kind == CONTOURS:
        return Header(0, (0, 0), patient, uid, series, False, is_contours=True)
    if what := no_picture(kind, has_rows="Rows" in data):
        return Header(0, (0, 0), patient, uid, series, False, what)
    frames = _frame_count(path, data)
    with naming_damage(path):
        size_hw = int(data.Rows), int(data.get("Columns") or 0)
        placed = placements_of(data, frames)
        burned_in = str(data.get("BurnedInAnnotation") or "").strip().upper() == "YES"
    is_mask = kind in SEGMENTATIONS
    return Header(
        frames, size_hw, patient, uid, series, is_mask, "", placed, burned_in, study=study
    )


def frames_of(path: Path) -> list[DicomImage]:
    """The images in one DICOM file, in their order. Raises: InputError."""
    data = read_dataset(path, header_only=True)
    count = _frame_count(path, data)
    with naming_damage(path):
        placements_of(data, count)  # which says what cannot be meant
    return [DicomImage(path, frame) for frame in range(count)]


def _frame_count(path: Path, data: Any) -> int:
    with naming_damage(path):
        if "Rows" not in data:
            raise FileError(
                path,
                "holds no image: it says no size of one (or is damaged, as by a private "
                "tag of a wrong length)",
            )
        count = int(data.get("NumberOfFrames") or 1)
    if not 0 < count <= _MOST_FRAMES:
        raise FileError(path, f"says that it holds {count} frames")
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

    def mask(self, path: Path, index: int, labels: Labels) -> DicomMask:
        return DicomMask(path, index, labels)
