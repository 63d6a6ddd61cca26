"""TIFF as PIL does not know it: several pages, 64-bit floats, colour floats. The only module that
uses tifffile."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from meddistill.base.errors import FileError, InputError, in_one_line
from meddistill.base.files import atomic_path
from meddistill.data.formats.picture_limits import MAX_PIXELS, check_size, checked_shape


def load_pages(path: Path) -> np.ndarray:
    """The pages (N, H, W[, 3]) of a TIFF file in its own depth. Raises: InputError for one that is
    damaged, whose pages differ in size, or above ten times `MAX_PIXELS` in all."""
    from tifffile import TiffFile  # slow to import, and rarely needed

    try:
        with TiffFile(path) as file:
            shapes = {page.shape for page in file.pages}
            if len(shapes) != 1:
                raise FileError(path, f"has pages of {len(shapes)} sizes, expected one")
            if np.prod(next(iter(shapes)), dtype=float) * len(file.pages) > 10 * MAX_PIXELS:
                raise FileError(path, f"is too large: {len(file.pages)} pages")
            return np.stack([page.asarray() for page in file.pages])
    except InputError:
        raise
    except Exception as error:  # tifffile raises a dozen types on damaged files
        raise FileError(path, f"is damaged: {in_one_line(error)}") from error


def write_pages(path: Path, pages: np.ndarray) -> None:
    """Write grey pages (N, H, W) as a TIFF file, whole or not at all."""
    from tifffile import imwrite  # as above

    with atomic_path(path) as temporary:
        imwrite(temporary, pages, photometric="minisblack", compression="zlib", metadata=None)


def decode_tiff(content: bytes) -> np.ndarray:
    """Pixels (H, W[, 3]) of a TIFF file of a kind that PIL does not know, of one page. Raises:
    InputError without a name, and what tifffile raises of a damaged file."""
    from tifffile import TiffFile  # slow to import, and rarely needed

    with TiffFile(io.BytesIO(content)) as file:
        if len(file.pages) != 1:
            raise InputError(f"holds {len(file.pages)} pages, expected one image")
        shape = file.pages[0].shape
        check_size(shape[1], shape[0])
        pixels = np.asarray(file.pages[0].asarray())
    return checked_shape(pixels[..., :3] if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels)
