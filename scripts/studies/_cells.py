"""What the studies have in common: a cell is one training run of which a small file is kept as it
ends, so that a study goes on where it was stopped. No study of its own."""

from __future__ import annotations

import contextlib
import datetime
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import numpy as np
import torch

from meddistill.base.console import console
from meddistill.base.errors import InputError, MedDistillError
from meddistill.base.files import read_json
from meddistill.evaluation.statistics import compare_paired

SMALL_STUDENT = (
    "distill.teacher=litemedsam",
    "distill.student=unetplusplus",
    "distill.encoder=tu-tf_efficientnet_lite0",
    "distill.encoder_weights=imagenet",
    "distill.precision=32-true",
    "distill.test_targets=false",
)
"""Settings that all students of the studies share: one that two cores train in minutes."""


class Stopwatch:
    """Seconds since it was made: on the clock, and of this process on its cores."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> dict[str, int]:
        return {
            "wall": round(time.perf_counter() - self._wall),
            "cpu": round(time.process_time() - self._cpu),
        }


def circumstances() -> dict[str, Any]:
    """Where and when a figure was measured."""
    return {
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "date": datetime.date.today().isoformat(),
    }


def read_cells(out: Path, pattern: str = "*.json") -> list[dict[str, Any]]:
    """All cells in `out`. Raises: InputError where there is none."""
    cells = [read_json(path) for path in sorted(out.glob(pattern))]
    if not cells:
        raise InputError(f"{out} holds no cell: no file such as {pattern}")
    return cells


def paired_difference(
    ours: Sequence[dict[str, Any]], rival: Sequence[dict[str, Any]], by: str
) -> str:
    """Mean and interval of the paired difference: a case's mean over the cells of both that are
    equal in `by`, resampled by group; empty where none are. Raises: InputError where they were
    judged on different cases."""
    of_rival = {cell[by]: cell for cell in rival}
    pairs = [(cell, of_rival[cell[by]]) for cell in ours if cell[by] in of_rival]
    if not pairs:
        return ""
    if any(cell["cases"] != other["cases"] for cell, other in pairs):
        raise InputError("cells were judged on different cases; run them again in an empty folder")
    first, second = (np.mean([pair[side]["dice"] for pair in pairs], axis=0) for side in (0, 1))
    paired = compare_paired(first.tolist(), second.tolist(), pairs[0][0]["groups"])
    interval = f" ({paired.ci95[0]:+.3f} to {paired.ci95[1]:+.3f})" if paired.ci95 else ""
    return f"{paired.mean:+.3f}{interval}"


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """An error of the package ends the script with one line."""
    try:
        yield
    except MedDistillError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
