"""What a mask writer offers: a student's masks and probabilities of a file, in a format of that
file's own kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from meddistill.data.findings import Findings
from meddistill.data.scans import Scan


class MaskWriter(Protocol):
    """Writes under `directory`, in one file or several whose names begin with `name`.

    Returns the file of each slice, in the order of `scan.images`; arrays have the slices' sizes.
    Raises: OSError where the directory cannot be written.
    """

    def write_masks(
        self,
        directory: Path,
        name: str,
        scan: Scan,
        masks: Sequence[np.ndarray],
        findings: Findings = ...,
    ) -> list[Path]:
        """Masks bool (H, W) or (C, H, W), stored as 0 and 255, of several findings as
        `Findings.encode` does.

        Args:
            directory: where the files go.
            name: of the scan, without an ending.
            scan: whose slices they are.
            masks: bool (H, W) or (C, H, W), one a slice.
            findings: what they are of.
        """
        ...

    def write_probs(
        self, directory: Path, name: str, scan: Scan, probs: Sequence[np.ndarray]
    ) -> list[Path]:
        """Lesion probabilities float32 (H, W) in [0, 1].

        Args:
            directory: where the files go.
            name: of the scan, without an ending.
            scan: whose slices they are.
            probs: float32 (H, W) in [0, 1], one a slice.
        """
        ...
