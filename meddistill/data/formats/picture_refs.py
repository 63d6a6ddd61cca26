"""Images and masks that are plain picture files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from meddistill.base.errors import FileError
from meddistill.data.formats.pictures import (
    IMAGE_SUFFIXES,
    is_plain_png,
    load_with_file,
    picture_size,
)
from meddistill.data.masks import Labels, read_mask
from meddistill.data.raw_case import OneFile, Picture


@dataclasses.dataclass(frozen=True)
class ImageFile(OneFile):
    """A picture file, one image; spacing (row, column) in mm where a table says it."""

    spacing_hw_mm: tuple[float, float] | None = None

    @property
    def token(self) -> str:
        return f"spacing {self.spacing_hw_mm}" if self.spacing_hw_mm else ""

    def size_hw(self) -> tuple[int, int]:
        return picture_size(self.path)

    def load(self) -> Picture:
        pixels, content = load_with_file(self.path)
        return Picture(pixels, self.spacing_hw_mm, png=content if is_plain_png(content) else b"")


@dataclasses.dataclass(frozen=True)
class MaskFiles:
    """One or several mask files of the same image, united; `labels` as in `masks.read_mask`."""

    paths: tuple[Path, ...]
    labels: Labels = None

    @property
    def files(self) -> tuple[Path, ...]:
        return self.paths

    @property
    def token(self) -> str:
        return "" if self.labels is None else f"labels {self.labels}"

    def load(self) -> np.ndarray:
        union = read_mask(self.paths[0], self.labels)
        for path in self.paths[1:]:
            mask = read_mask(path, self.labels)
            if union.shape != mask.shape:
                raise FileError(
                    path, f"is {_size(mask)}, the first {_size(union)}: its masks differ in size"
                )
            if union.dtype == bool:
                union |= mask
            else:  # objects of another file are others
                union = np.where(mask > 0, mask + union.max(initial=0), union)
        return union


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"


class PictureFormat:
    """An `ImageFormat`: PNG, JPEG, TIFF and the like."""

    name = "picture"
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    is_volume = False

    def claims(self, path: Path) -> bool:
        return False  # whatever nothing else claims is tried as a picture

    def images(self, path: Path) -> list[ImageFile]:
        return [ImageFile(path)]

    def mask(self, path: Path, index: int, labels: Labels) -> MaskFiles:
        return MaskFiles((path,), labels)
