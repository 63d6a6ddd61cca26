"""What a person points `predict` at: files, folders and patterns, and each file as 8-bit slices.

A picture is one slice; a volume is many, and knows how to put maps of its slices back together.
"""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from meddistill.data.images import load_picture
from meddistill.data.intensity import to_8bit
from meddistill.data.sources.base import IMAGE_SUFFIXES
from meddistill.errors import InputError

_VOLUME_SUFFIXES: tuple[str, ...] = ()
_SUFFIXES = (*IMAGE_SUFFIXES, *_VOLUME_SUFFIXES)


class Volume(Protocol):
    """A file of many slices."""

    def write(self, path: Path, slices: Sequence[np.ndarray]) -> Path:
        """Write one map a slice as a volume that lies where the source does; returns the file, suffix added."""
        ...


@dataclasses.dataclass(frozen=True)
class Scan:
    """One file: `images` are uint8 (H, W) or (H, W, 3) slices, `spacing_hw_mm` their pixels' size where known.

    `volume` is None for a picture. A slice of a volume that shows nothing is all zeros.
    """

    images: Sequence[np.ndarray]
    spacing_hw_mm: tuple[float, float] | None = None
    volume: Volume | None = None


def find_scans(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files that `patterns` (files, folders, globs) mean, each once, and a line for each pattern that means none.

    A folder stands for the images in it and below, a glob for files; hidden files are left out unless named.
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
                problems.append(f"{pattern} holds no image ({', '.join(_SUFFIXES)})")
        else:
            matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
            files = [match for match in matches if match.is_file()]
            if not files:
                problems.append(
                    f"{pattern} does not exist" if not glob.has_magic(pattern) else f"{pattern} fits no file"
                )
        for file in files:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values()), problems


def read_scan(path: Path) -> Scan:
    """The slices of one file. Raises: InputError naming the file, for one that cannot be read or shows nothing."""
    try:
        return Scan([to_8bit(load_picture(path))])
    except InputError as error:
        reason = str(error)
        raise InputError(reason if path.name in reason else f"{path.name}: {reason}") from error


def scan_name(path: Path) -> str:
    """The file's name without what tells its format (`.nii.gz` is one suffix)."""
    lower = path.name.lower()
    suffix = next((suffix for suffix in _SUFFIXES if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)] or path.name


def _files_below(directory: Path) -> list[Path]:
    files = []
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(folder) / name for name in sorted(names) if _is_scan(Path(folder) / name)]
    return files


def _is_scan(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower().endswith(_SUFFIXES)
