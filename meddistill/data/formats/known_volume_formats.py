"""Which files hold volumes, and what reads them. To add a format: a module like `itk`, and a line
here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from meddistill.base.errors import FileError
from meddistill.data.formats import itk, nifti, pages
from meddistill.data.formats.volume import Grid, Volume


@dataclasses.dataclass(frozen=True)
class VolumeReader:
    """How the files of some endings are read: `grid_of` from the header alone, `read` one channel.
    Both raise InputError."""

    suffixes: tuple[str, ...]
    grid_of: Callable[[Path], Grid]
    read: Callable[[Path, int], Volume]


VOLUME_READERS = (
    VolumeReader(nifti.SUFFIXES, nifti.grid_of, nifti.read),
    VolumeReader(itk.SUFFIXES, itk.grid_of, itk.read),
    VolumeReader(pages.SUFFIXES, pages.grid_of, pages.read),
)
VOLUME_SUFFIXES = tuple(suffix for each in VOLUME_READERS[:2] for suffix in each.suffixes)
"""Endings, in lower case, of files that are volumes and nothing else; a TIFF may be a picture."""


def reader_of(path: Path) -> VolumeReader:
    """Raises: InputError for a file whose name says nothing of a volume."""
    for reader in VOLUME_READERS:
        if path.name.lower().endswith(reader.suffixes):
            return reader
    raise FileError(path, f"is no volume ({', '.join(VOLUME_SUFFIXES)})")
