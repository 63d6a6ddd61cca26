"""The MATLAB 7.3 files of Jun Cheng's brain tumour set. Uses h5py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, MissingPackageError, in_one_line
from meddistill.data.raw_case import OneFile, Picture

CLASSES = {1: "meningioma", 2: "glioma", 3: "pituitary"}


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise MissingPackageError(
            "reading .mat files needs h5py: pip install 'meddistill[figshare]'"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (
        OSError,
        KeyError,
        ValueError,
        RuntimeError,
        AttributeError,
        IndexError,
        TypeError,
    ) as error:
        raise FileError(
            path, f"cannot be read as a MATLAB 7.3 file: {in_one_line(error)}"
        ) from error


@dataclasses.dataclass(frozen=True)
class MatImage(OneFile):
    """`cjdata/image` of a file: int16 (H, W)."""

    @property
    def token(self) -> str:
        return "cjdata/image"

    def size_hw(self) -> tuple[int, int]:
        with _open(self.path) as file:
            width, height = file["cjdata/image"].shape  # MATLAB stores columns first
            return height, width

    def load(self) -> Picture:
        with _open(self.path) as file:
            return Picture(np.asarray(file["cjdata/image"]).T)


@dataclasses.dataclass(frozen=True)
class MatMask(OneFile):
    """`cjdata/tumorMask` of a file: 0 and 1, (H, W)."""

    @property
    def token(self) -> str:
        return "cjdata/tumorMask"

    def load(self) -> np.ndarray:
        with _open(self.path) as file:
            return np.asarray(file["cjdata/tumorMask"]).T > 0


def read_facts(path: Path) -> tuple[str, str]:
    """The patient and the class of a slice. Raises: InputError."""
    with _open(path) as file:
        label = int(np.asarray(file["cjdata/label"]).flat[0])
        patient = "".join(chr(code) for code in np.asarray(file["cjdata/PID"]).ravel())
    if label not in CLASSES:
        raise FileError(path, f"has label {label}, expected {', '.join(map(str, CLASSES))}")
    return patient.strip("\0 "), CLASSES[label]


def read_folds(path: Path) -> list[int]:
    """The fold of slice 1, 2, ..., as cvind.mat has them. Raises: InputError."""
    with _open(path) as file:
        return [int(fold) for fold in np.asarray(file["cvind"]).ravel()]
