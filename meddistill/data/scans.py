"""What a person points `predict` at: files, folders and patterns, and each file or DICOM series as 8-bit
slices.

A picture is one slice; a volume is many. `formats/known_mask_writers.py` puts maps of a file's
slices back together.
"""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import FileError, InputError
from meddistill.data.formats.dicom import (
    DicomImage,
    Header,
    is_dicom,
    read_header,
)
from meddistill.data.formats.dicom_series import Series, copies_among, has_no_ending, series_in
from meddistill.data.formats.known_image_formats import (
    IMAGE_FORMATS,
    PICTURE,
    SUFFIXES,
    image_format_of,
)
from meddistill.data.formats.volume_slices import PAGES, slices_of
from meddistill.data.intensity import IntensitySettings
from meddistill.data.preprocessing import AXIAL
from meddistill.data.raw_case import ImageRef
from meddistill.data.shown import shown

SERIES = "series"
"""`Scan.kind` of a DICOM series."""


@dataclasses.dataclass(frozen=True)
class ScanFiles:
    """The file that `path` is, or the DICOM series whose first file it is."""

    path: Path
    series: Series | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,) if self.series is None else self.series.files

    @property
    def is_volume(self) -> bool:
        """Whether it holds many slices, by its name, or a TIFF's pages."""
        if self.series is not None or PAGES.claims(self.path):
            return True
        name = self.path.name.lower()
        return any(
            each.is_volume and name.endswith(each.suffixes) for each in IMAGE_FORMATS.values()
        )

    @property
    def name(self) -> str:
        """What is written of it is called by this: the file's name, or the folder's of a series."""
        return scan_name(self.path) if self.series is None else self.path.absolute().parent.name


@dataclasses.dataclass(frozen=True)
class Cut:
    """How volumes are cut: across the canonical `axis`, of several channels the number `channel`."""

    axis: int = AXIAL
    channel: int | None = None


@dataclasses.dataclass(frozen=True)
class Scan:
    """One file, or one DICOM series: `images` are uint8 (H, W) or (H, W, 3) slices, `spacing_hw_mm`
    their pixels' size where known, `slice_mm` the distance from slice to slice.

    `kind`: `picture`, `dicom`, `series`, `nifti`, `itk` or `pages`; what is written of its slices depends on
    it. `axis`: the canonical one that the slices lie across. A slice that shows nothing among others
    is all zeros.
    """

    path: Path
    kind: str
    images: Sequence[np.ndarray]
    spacing_hw_mm: tuple[float, float] | None = None
    slice_mm: float | None = None
    axis: int = AXIAL
    series: Series | None = None

    @property
    def is_volume(self) -> bool:
        """Whether its slices are of one body."""
        return self.kind == SERIES or IMAGE_FORMATS[self.kind].is_volume

    @property
    def is_stack(self) -> bool:
        """Whether its slices are counted; a volume's are, even where it has but one."""
        return self.is_volume or len(self.images) > 1

    @property
    def voxel_mm3(self) -> float | None:
        """Volume of a voxel; None where a side is not known."""
        if self.spacing_hw_mm is None or self.slice_mm is None:
            return None
        return self.spacing_hw_mm[0] * self.spacing_hw_mm[1] * self.slice_mm

    def slice_name(self, name: str, index: int) -> str:
        """`name`, or the name of one slice of a stack. No two become equal by it: `unique_names`
        leaves no `@`."""
        return f"{name}@{index:04d}" if self.is_stack else name


def find_scans(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files that `patterns` (files, folders, globs) mean, each once, and a line for each pattern
    that means none.

    A folder stands for the images in it and below, a glob for files; hidden files are left out
    unless named.
    """
    found: dict[str, Path] = {}
    problems = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_file():
            files = [path]
        elif path.is_dir():
            files = _files_below(path)
            if not files:
                problems.append(f"{pattern} holds no image ({', '.join(SUFFIXES)})")
        else:
            matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
            files = [match for match in matches if match.is_file()]
            if not files:
                problems.append(
                    f"{pattern} does not exist"
                    if not glob.has_magic(pattern)
                    else f"{pattern} fits no file"
                )
        for file in files:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values()), problems


def group_scans(paths: Sequence[Path]) -> tuple[list[ScanFiles], list[str]]:
    """The files, those of one DICOM series together; and a line for each that holds no picture
    (segmentations, contours, doses).

    Files in one folder that say where they lie are a series; those that do not, or that cannot be
    read, are a scan each.
    """
    headers: dict[Path, Header] = {}
    left: dict[Path, str] = {}
    for path in paths:
        if path.name.lower().endswith(_NO_DICOM) or not is_dicom(path):
            continue
        try:
            header = read_header(path)
        except InputError:
            continue  # reading it says why
        if header.no_picture or header.is_segmentation or header.is_contours:
            drawn = "contours" if header.is_contours else "a segmentation"
            what = header.no_picture or f"{drawn}, no image"
            left[path] = f"{path} is left out: it holds {what}"
        elif header.placed:
            headers[path] = header
    of_file: dict[Path, list[Series]] = {}
    for folder in dict.fromkeys(path.parent for path in headers):
        own = {path: header for path, header in headers.items() if path.parent == folder}
        for series in series_in(own):
            first = min(series.files)
            of_file.setdefault(first, []).append(series)
        for path, same in copies_among(own).items():
            left[path] = f"{path} is left out: it is {same.name} once more"
    covered = {path for found in of_file.values() for one in found for path in one.files}
    scans = []
    for path in paths:
        scans += [ScanFiles(path, series) for series in of_file.get(path, ())]
        if path not in covered and path not in left:
            scans.append(ScanFiles(path))
    return scans, list(left.values())


_NO_DICOM = tuple(each for each in SUFFIXES if each not in IMAGE_FORMATS["dicom"].suffixes)
_WHOLE = Cut()


def read_scan(
    source: Path | ScanFiles, intensity: IntensitySettings | None = None, cut: Cut = _WHOLE
) -> Scan:
    """The slices of one file or series.

    `intensity`: how values become 8-bit ones; None as `prepare` does by default. `cut`: how volumes
    are cut; those of a DICOM series are its own. Raises: InputError naming the file, for one that
    cannot be read or shows nothing.
    """
    given = source if isinstance(source, ScanFiles) else ScanFiles(source)
    path = given.path
    try:
        kind, references = _references(given, cut)
        pictures = [each.load() for each in references]
        images = [shown(picture, intensity, blank=len(pictures) > 1) for picture in pictures]
        if not any(image.any() for image in images):
            raise InputError("no slice shows anything")
        first = pictures[0]
        slice_mm = first.slice_mm if given.series is None else given.series.slice_mm
        spacing = first.spacing_hw_mm
        return Scan(path, kind, images, spacing, slice_mm, cut.axis, given.series)
    except FileError:
        raise
    except InputError as error:
        raise FileError(path, f"cannot be shown: {error}") from error


def _references(given: ScanFiles, cut: Cut) -> tuple[str, Sequence[ImageRef]]:
    if given.series is not None:
        given.series.check_even()
        return SERIES, [DicomImage(each.path, each.frame) for each in given.series.frames]
    image_format = image_format_of(given.path)
    if image_format.is_volume:
        return image_format.name, slices_of(given.path, cut.axis, cut.channel)
    return image_format.name, image_format.images(given.path)


def scan_name(path: Path) -> str:
    """The file's name without what tells its format (`.nii.gz` is one suffix)."""
    lower = path.name.lower()
    suffix = next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)] or path.name


def _files_below(directory: Path) -> list[Path]:
    files = []
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        own = [Path(folder) / name for name in sorted(names)]
        scans = {path for path in own if _is_scan(path)}
        if any(has_no_ending(path) for path in scans):
            # A series that is being copied: what is not there yet is no reason to take it for whole.
            scans |= {path for path in own if has_no_ending(path) and not path.stat().st_size}
        files += [path for path in own if path in scans]
    return files


def _is_scan(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    # A picture always has an ending of its own.
    return path.name.lower().endswith(SUFFIXES) or (
        has_no_ending(path) and path.name != "DICOMDIR" and image_format_of(path) is not PICTURE
    )
