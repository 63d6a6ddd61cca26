"""What one evaluation is asked for besides its settings: what it reads, where it writes, on which
device. Imports nothing heavy: the command line builds it."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class EvalRequest:
    """An evaluation of a RUN.

    `data`, `student` (directories) and `boxes` (a table) replace RUN's own, `out` its `eval/`.
    """

    data: Path | None = None
    student: Path | None = None
    boxes: Path | None = None
    out: Path | None = None
    device: str = "cpu"
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class FolderRequest:
    """An evaluation of a student (directory) on a folder of images and one of true masks."""

    images: Path
    masks: Path
    student: Path
    out: Path
    device: str = "cpu"
    overwrite: bool = False
