"""What a person points `predict` at: files, folders and patterns, and each file as 8-bit slices.

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

from meddistill.base.errors import InputError
from meddistill.data.formats.known_image_formats import (
    IMAGE_FORMATS,
    PICTURE,
    SUFFIXES,
    image_format_of,
)
from meddistill.data.intensity import IntensitySettings
from meddistill.data.shown import shown


@dataclasses.dataclass(frozen=True)
class Scan:
    """One file: `images` are uint8 (H, W) or (H, W, 3) slices, `spacing_hw_mm` their pixels' size
    where known.

    `kind`: `picture`, `dicom` or `nifti`; what is written of its slices depends on it. A slice that
    shows nothing among others is all zeros.
    """

    path: Path
    kind: str
    images: Sequence[np.ndarray]
    spacing_hw_mm: tuple[float, float] | None = None

    @property
    def is_stack(self) -> bool:
        """Whether its slices are counted; a volume's are, even where it has but one."""
        return IMAGE_FORMATS[self.kind].is_volume or len(self.images) > 1

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


def read_scan(path: Path, intensity: IntensitySettings | None = None) -> Scan:
    """The slices of one file; a volume's are axial ones, as `prepare` cuts them.

    `intensity`: how values become 8-bit ones; None as `prepare` does by default.
    Raises: InputError naming the file, for one that cannot be read or shows nothing.
    """
    try:
        image_format = image_format_of(path)
        pictures = [each.load() for each in image_format.images(path)]
        images = [shown(picture, intensity, blank=len(pictures) > 1) for picture in pictures]
        if not any(image.any() for image in images):
            raise InputError("no slice shows anything")
        return Scan(path, image_format.name, images, pictures[0].spacing_hw_mm)
    except InputError as error:
        reason = str(error)
        raise InputError(reason if path.name in reason else f"{path.name}: {reason}") from error


def scan_name(path: Path) -> str:
    """The file's name without what tells its format (`.nii.gz` is one suffix)."""
    lower = path.name.lower()
    suffix = next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)] or path.name


def _files_below(directory: Path) -> list[Path]:
    files = []
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(folder) / name for name in sorted(names) if _is_scan(Path(folder) / name)]
    return files


def _is_scan(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    # Scanners write files without a suffix, or with a number for one; a picture always has its own.
    return path.name.lower().endswith(SUFFIXES) or (
        (not path.suffix or path.suffix[1:].isdecimal())
        and path.name != "DICOMDIR"
        and image_format_of(path) is not PICTURE
    )
