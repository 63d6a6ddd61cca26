"""Masks of a MetaImage or NRRD volume: a volume of the same format that lies where it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.data.findings import LESION, Findings, as_planes
from meddistill.data.formats.itk import is_flat, write_voxels
from meddistill.data.formats.volume import as_stored
from meddistill.data.formats.volume_slices import grid_of
from meddistill.data.scans import Scan

_ENDING = {".nhdr": ".nrrd", ".mhd": ".mha"}
"""A header without voxels becomes one file with them."""


class ItkMaskWriter:
    """One .mha or .nrrd with the source's shape and place: masks uint8, probabilities float32."""

    def write_masks(
        self,
        directory: Path,
        name: str,
        scan: Scan,
        masks: Sequence[np.ndarray],
        findings: Findings = LESION,
    ) -> list[Path]:
        labels = [findings.encode(as_planes(mask)) for mask in masks]
        return self.write_probs(directory, name, scan, labels)

    def write_probs(
        self, directory: Path, name: str, scan: Scan, probs: Sequence[np.ndarray]
    ) -> list[Path]:
        ending = scan.path.suffix.lower()
        path = directory / f"{name}{_ENDING.get(ending, ending)}"
        affine = grid_of(scan.path).affine
        assert affine is not None
        voxels = as_stored(probs, affine, scan.axis)
        write_voxels(path, voxels, affine, is_flat(scan.path))
        return [path] * len(probs)
