"""What an export format offers: a student written as one file, and that file opened again to be
checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from meddistill.data.frames import Preprocessing
from meddistill.student.networks.student_network import StudentNetwork


class Exported(Protocol):
    """An exported student at work."""

    def predict_probs(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (B, 3, H, W) RGB to probabilities float32 (B, C, H, W)."""
        ...


@dataclasses.dataclass(frozen=True)
class ExportJob:
    """What goes into the file: the network, all that happens to pixels around it, and `facts`, its
    metadata.

    `calibration`: network inputs (1, 3, S, S) that int8 activations are scaled by; empty for
    float32.
    """

    module: StudentNetwork
    preprocessing: Preprocessing
    facts: Mapping[str, str]
    calibration: Sequence[Tensor] = ()


@dataclasses.dataclass(frozen=True)
class ExportFormat:
    """`suffix`: of the file, with its dot. `takes_int8`: whether `write` makes int8 of a job with
    calibration."""

    suffix: str
    write: Callable[[ExportJob, Path], None]
    open: Callable[[Path], Exported]
    takes_int8: bool = False
