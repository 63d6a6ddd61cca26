"""TIFF as PIL does not know it: several pages, 64-bit floats, colour floats. The only module that
uses tifffile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, InputError, in_one_line
from meddistill.base.files import atomic_path
from meddistill.data.formats.picture_limits import MAX_PIXELS, check_size, checked_shape


class UnknownCompressionError(FileError):
    """A file is compressed in a way that tifffile alone does not know."""


def load_pages(path: Path) -> np.ndarray:
    """The pages (N, H, W[, 3]) of a TIFF file in its own depth, the lowest value black.

    Raises: InputError for one that is damaged or compressed in a way that is not known, whose pages
    differ in size or are of several channels or times, or above ten times `MAX_PIXELS` in all.
    """
    from tifffile import TiffFile  # slow to import, and rarely needed

    try:
        with TiffFile(path) as file:
            shapes = {page.shape for page in file.pages}
            if len(shapes) != 1:
                raise FileError(path, f"has pages of {len(shapes)} sizes, expected one")
            if np.prod(next(iter(shapes)), dtype=float) * len(file.pages) > 10 * MAX_PIXELS:
                raise FileError(path, f"is too large: {len(file.pages)} pages")
            if several := _several(file):
                raise FileError(
                    path,
                    f"holds {several}: expected a page a slice; save each as a file of its own",
                )
            return np.stack([_black_lowest(page) for page in file.pages])
    except InputError:
        raise
    except Exception as error:  # tifffile raises a dozen types on damaged files
        if "imagecodecs" in str(error):
            raise UnknownCompressionError(path, f"cannot be read: {in_one_line(error)}") from error
        raise FileError(path, f"is damaged: {in_one_line(error)}") from error


def _several(file: Any) -> str:
    """What pages are of besides slices, by ImageJ and OME: `2 channels`; '' for nothing else."""
    series = file.series[0]
    counts = dict(zip(series.axes, series.shape, strict=True))
    found = {"channels": counts.get("C", 1), "times": counts.get("T", 1)}
    if not (file.is_imagej or file.is_ome):
        return ""
    # A stack of one axis alone is often called one of times or channels.
    stacked = [name for name in counts if name not in "YXS" and counts[name] > 1]
    return " and ".join(
        f"{count} {name}" for name, count in found.items() if count > 1 and len(stacked) > 1
    )


def _black_lowest(page: Any) -> np.ndarray:
    pixels = np.asarray(page.asarray())
    if page.photometric is None or page.photometric.name != "MINISWHITE":
        return pixels
    return ~pixels if pixels.dtype.kind in "ub" else -pixels


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
