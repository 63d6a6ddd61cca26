"""What one evaluation is asked for besides its settings: what it reads, where it writes, on which
device. Imports nothing heavy: the command line builds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class OtherMasks:
    """Another tool's masks of the judged images, in a folder. `name`: what a reader calls the tool;
    empty for the folder's. `resample`: take masks of another size than their images."""

    directory: Path
    name: str = ""
    resample: bool = False


@dataclasses.dataclass(frozen=True)
class EvalRequest:
    """An evaluation of a RUN.

    `data`, `student` (directories) and `boxes` (a table) replace RUN's own, `out` its `eval/`.
    `other`: masks to judge beside the student's. `foreign`: FOLDER or NAME=FOLDER of images that are
    not its own, to see whether it notices.
    """

    data: Path | None = None
    student: Path | None = None
    boxes: Path | None = None
    out: Path | None = None
    device: str = "cpu"
    overwrite: bool = False
    other: OtherMasks | None = None
    foreign: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class FolderRequest:
    """An evaluation of a student (directory) on a folder of images and one of true masks; `foreign`
    as in `EvalRequest`."""

    images: Path
    masks: Path
    student: Path
    out: Path
    device: str = "cpu"
    overwrite: bool = False
    foreign: Sequence[str] = ()
