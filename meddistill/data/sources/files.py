"""Images and masks that are plain picture files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from meddistill.data.images import load_picture
from meddistill.data.masks import Label, read_mask
from meddistill.data.sources.base import Picture
from meddistill.errors import InputError


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """A picture file, one image."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def token(self) -> str:
        return ""

    def load(self) -> Picture:
        return Picture(load_picture(self.path))


@dataclasses.dataclass(frozen=True)
class MaskFiles:
    """One or several mask files of the same image, united; `labels` as in `masks.read_mask`."""

    paths: tuple[Path, ...]
    labels: tuple[Label, ...] | str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        return self.paths

    @property
    def token(self) -> str:
        return "" if self.labels is None else f"labels {self.labels}"

    def load(self) -> np.ndarray | None:
        union: np.ndarray | None = None
        for path in self.paths:
            mask = read_mask(path, self.labels)
            if union is not None and union.shape != mask.shape:
                raise InputError(f"its masks differ in size: {_size(union)} and {_size(mask)} ({path.name})")
            union = mask if union is None else union | mask
        return union


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"


@dataclasses.dataclass(frozen=True)
class EmptyMask:
    """Somebody looked and found no lesion; there is no file that says so."""

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    @property
    def token(self) -> str:
        return "empty"

    def load(self) -> np.ndarray | None:
        return None
