"""Masks of a TIFF file of several pages: one of as many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.data.findings import LESION, Findings, as_planes
from meddistill.data.formats.tiff import write_pages
from meddistill.data.formats.volume import as_pages, as_stored
from meddistill.data.formats.volume_slices import grid_of
from meddistill.data.scans import Scan


class PagesMaskWriter:
    """One .tif with a page for each of the source's: masks uint8, probabilities float32."""

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
        path = directory / f"{name}.tif"
        voxels = as_stored(probs, as_pages(grid_of(scan.path).shape), scan.axis)
        write_pages(path, np.transpose(voxels, (2, 1, 0)))
        return [path] * len(probs)
