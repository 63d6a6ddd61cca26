"""What an export format offers: a student written as one file, and that file opened again to be
checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from meddistill.data.frames import Preprocessing
from meddistill.student.networks.student_network import StudentNetwork
from meddistill.student.trust.trust import Trust


class Exported(Protocol):
    """An exported student at work."""

    def predict_probs(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (B, 3, H, W) RGB to probabilities float32 (B, C, H, W)."""
        ...


@runtime_checkable
class TellsOfItself(Protocol):
    """An exported student that may say something of its own answers."""

    @property
    def knows_itself(self) -> bool: ...

    def read(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `predict_probs`; familiarity (B,); and (B, C, 4) the other numbers."""
        ...


@dataclasses.dataclass(frozen=True)
class ExportJob:
    """What goes into the file: the network, all that happens to pixels around it, and `facts`, its
    metadata.

    `calibration`: network inputs (1, 3, S, S) that int8 activations are scaled by; empty for
    float32. `trust`: what the student says of itself, where the format and float32 can hold it.
    """

    module: StudentNetwork
    preprocessing: Preprocessing
    facts: Mapping[str, str]
    calibration: Sequence[Tensor] = ()
    trust: Trust | None = None


@dataclasses.dataclass(frozen=True)
class ExportFormat:
    """`suffix`: of the file, with its dot. `takes_int8`: whether `write` makes int8 of a job with
    calibration."""

    suffix: str
    write: Callable[[ExportJob, Path], None]
    open: Callable[[Path], Exported]
    takes_int8: bool = False
