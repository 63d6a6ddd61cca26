"""Masks of a DICOM series: a NIfTI volume that lies where it does, and a DICOM segmentation of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base import console
from meddistill.data.findings import LESION, Findings, as_planes
from meddistill.data.formats.dicom_seg_writer import write_segmentation
from meddistill.data.formats.nifti import write_voxels
from meddistill.data.scans import Scan

SEGMENTATION = ".seg.dcm"
"""How the names of DICOM segmentations end."""


class SeriesMaskWriter:
    """One .nii.gz on the grid of the frames (columns, rows, slices), masks uint8, probabilities
    float32; and beside masks a .dcm that names the frames."""

    def write_masks(
        self,
        directory: Path,
        name: str,
        scan: Scan,
        masks: Sequence[np.ndarray],
        findings: Findings = LESION,
    ) -> list[Path]:
        planes = np.stack([as_planes(mask) for mask in masks])
        paths = _write(directory, name, scan, [findings.encode(each) for each in planes])
        assert scan.series is not None
        segmentation = directory / f"{name}{SEGMENTATION}"
        segmentation.unlink(missing_ok=True)  # of other masks, where none can be written now
        why_not = write_segmentation(segmentation, scan.series, planes, findings)
        if why_not:
            console.warn(f"{name}: no DICOM segmentation is written, {why_not}")
        return paths

    def write_probs(
        self, directory: Path, name: str, scan: Scan, probs: Sequence[np.ndarray]
    ) -> list[Path]:
        return _write(directory, name, scan, probs)


def _write(directory: Path, name: str, scan: Scan, maps: Sequence[np.ndarray]) -> list[Path]:
    assert scan.series is not None
    path = directory / f"{name}.nii.gz"
    write_voxels(path, np.stack([each.T for each in maps], axis=2), scan.series.affine)
    return [path] * len(maps)
