"""Masks of a volume: a NIfTI volume that lies where it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.data.findings import LESION, Findings, as_planes
from meddistill.data.formats.nifti import SUFFIXES, write_slices
from meddistill.data.formats.volume_slices import grid_of
from meddistill.data.scans import Scan


class NiftiMaskWriter:
    """One .nii.gz with the source's shape and affine: masks uint8, probabilities float32."""

    def write_masks(
        self,
        directory: Path,
        name: str,
        scan: Scan,
        masks: Sequence[np.ndarray],
        findings: Findings = LESION,
    ) -> list[Path]:
        labels = [findings.encode(as_planes(mask)) for mask in masks]
        return _write(directory, name, scan, labels)

    def write_probs(
        self, directory: Path, name: str, scan: Scan, probs: Sequence[np.ndarray]
    ) -> list[Path]:
        return _write(directory, name, scan, probs)


def _write(directory: Path, name: str, scan: Scan, maps: Sequence[np.ndarray]) -> list[Path]:
    path = directory / f"{name}.nii.gz"
    source = scan.path if scan.path.name.lower().endswith(SUFFIXES) else None
    write_slices(path, grid_of(scan.path), maps, source, scan.axis)
    return [path] * len(maps)
