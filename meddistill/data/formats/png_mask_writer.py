"""Masks of pictures and of single frames: a PNG a slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.data.findings import LESION, Findings, as_planes
from meddistill.data.formats.pictures import write_palette_png, write_png
from meddistill.data.scans import Scan


class PngMaskWriter:
    """Masks as 8-bit PNGs, probabilities as 16-bit ones: 0 to 65535 for 0 to 1."""

    def write_masks(
        self,
        directory: Path,
        name: str,
        scan: Scan,
        masks: Sequence[np.ndarray],
        findings: Findings = LESION,
    ) -> list[Path]:
        labels = [findings.encode(as_planes(mask)) for mask in masks]
        return _write(directory, name, scan, labels, findings)

    def write_probs(
        self, directory: Path, name: str, scan: Scan, probs: Sequence[np.ndarray]
    ) -> list[Path]:
        levels = [np.rint(prob * 65535).astype(np.uint16) for prob in probs]
        return _write(directory, name, scan, levels)


def _write(
    directory: Path,
    name: str,
    scan: Scan,
    maps: Sequence[np.ndarray],
    findings: Findings = LESION,
) -> list[Path]:
    paths = [directory / f"{scan.slice_name(name, index)}.png" for index in range(len(maps))]
    for path, each in zip(paths, maps, strict=True):
        if findings.is_one or each.dtype != np.uint8:
            write_png(path, each)
        else:
            write_palette_png(path, each, findings.palette(), ", ".join(findings.names))
    return paths
