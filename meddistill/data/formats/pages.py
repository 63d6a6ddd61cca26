"""TIFF files of several pages, as volumes: a page a slice, with no place in the world."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from meddistill.base.errors import FileError, InputError
from meddistill.data.formats.pictures import decode_pages, page_count, picture_size
from meddistill.data.formats.tiff import UnknownCompressionError, load_pages
from meddistill.data.formats.volume import Grid, Volume, as_pages, canonical

SUFFIXES = (".tif", ".tiff")


def grid_of(path: Path) -> Grid:
    """Raises: InputError for a file that cannot be read."""
    height, width = picture_size(path)
    return Grid((width, height, page_count(path)), None)


def read(path: Path, channel: int) -> Volume:
    """The pages as slices. Raises: InputError, also where they differ in size or are in colour."""
    try:
        pages = load_pages(path)
    except UnknownCompressionError:
        pages = decode_pages(path)
    if pages.ndim != 3:
        raise FileError(path, "has pages in colour, expected grey ones")
    voxels = np.transpose(pages, (2, 1, 0))
    return Volume(canonical(voxels, as_pages(voxels.shape))[0], None, None, path)


@functools.lru_cache(maxsize=4096)
def are_in(path: Path) -> bool:
    """Whether a file is a TIFF of more than one page; one that cannot be read is none."""
    if not path.name.lower().endswith(SUFFIXES):
        return False
    try:
        return page_count(path) > 1
    except InputError:
        return False
