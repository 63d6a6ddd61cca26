"""Jun Cheng's brain tumour set as published: one MATLAB 7.3 file a slice, and cvind.mat with the folds. Uses h5py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import InputError, MissingPackageError, in_one_line
from meddistill.data.sources.base import (
    Listing,
    OneFile,
    Picture,
    RawCase,
    SourceOptions,
    any_file,
    shown,
    walk_files,
)
from meddistill.run.layout import Rejected

CLASSES = {1: "meningioma", 2: "glioma", 3: "pituitary"}
_FOLDS = "cvind.mat"


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise MissingPackageError("reading .mat files needs h5py: pip install 'meddistill[figshare]'") from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError, IndexError, TypeError) as error:
        raise InputError(f"{path.name} cannot be read as a MATLAB 7.3 file: {in_one_line(error)}") from error


@dataclasses.dataclass(frozen=True)
class MatImage(OneFile):
    """`cjdata/image` of a file: int16 (H, W)."""

    @property
    def token(self) -> str:
        return "cjdata/image"

    def load(self) -> Picture:
        with _open(self.path) as file:
            return Picture(np.asarray(file["cjdata/image"]).T)  # MATLAB stores columns first


@dataclasses.dataclass(frozen=True)
class MatMask(OneFile):
    """`cjdata/tumorMask` of a file: 0 and 1, (H, W)."""

    @property
    def token(self) -> str:
        return "cjdata/tumorMask"

    def load(self) -> np.ndarray:
        with _open(self.path) as file:
            return np.asarray(file["cjdata/tumorMask"]).T > 0


class Figshare:
    name = "figshare"
    summary = "N.mat (MATLAB 7.3 with cjdata) and cvind.mat (figshare 1512427, Jun Cheng)"
    general = False

    def recognise(self, directory: Path) -> str | None:
        folds = any_file(directory, _FOLDS)
        if folds:
            return f"it has {shown(folds, directory)}"
        numbered = any_file(directory, "[0-9]*.mat")
        return f"it has {shown(numbered, directory)}" if numbered else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        found, rejected = walk_files(directory, directory)
        files = [path for path in found if path.suffix == ".mat"]
        tables = [path for path in files if path.name == _FOLDS]
        folds = _read_folds(tables[0]) if tables else []
        cases: list[RawCase] = []
        for path in sorted(files, key=lambda path: (len(path.stem), path.stem)):
            if path in tables:
                continue
            try:
                patient, class_name = _read_facts(path)
            except MissingPackageError:
                raise
            except InputError as error:
                rejected.append(Rejected(shown(path, directory), str(error)))
                continue
            number = int(path.stem) if path.stem.isdecimal() else 0
            columns = {"fold": str(folds[number - 1])} if 0 < number <= len(folds) else {}
            cases.append(
                RawCase(
                    path.stem, shown(path, directory), MatImage(path), MatMask(path), None, class_name, patient, columns
                )
            )
        return Listing(cases, rejected, ["groups are the patients (PID)"], tables=tables)


def _read_facts(path: Path) -> tuple[str, str]:
    with _open(path) as file:
        label = int(np.asarray(file["cjdata/label"]).flat[0])
        patient = "".join(chr(code) for code in np.asarray(file["cjdata/PID"]).ravel())
    if label not in CLASSES:
        raise InputError(f"{path.name} has label {label}, expected {', '.join(map(str, CLASSES))}")
    return patient.strip("\0 "), CLASSES[label]


def _read_folds(path: Path) -> list[int]:
    with _open(path) as file:
        return [int(fold) for fold in np.asarray(file["cvind"]).ravel()]
