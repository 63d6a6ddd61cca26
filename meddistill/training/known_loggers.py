"""The loggers that every training has. To add one: its module, and its line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from meddistill.training.epoch_log import EpochLog, EpochRow, Logger, rounded
from meddistill.training.metrics_csv import MetricsCsv
from meddistill.training.tensorboard_log import TensorBoardLog

LOGGERS: dict[str, Callable[[Path, Sequence[EpochRow]], Logger]] = {
    "metrics.csv": MetricsCsv,
    "tensorboard": TensorBoardLog,
}
"""What it writes -> from the student's directory, and the epochs that training goes on after, to
the logger."""


def open_log(out: Path, rows: Sequence[EpochRow] = ()) -> EpochLog:
    """The log of a training in `out`; `rows`: its epochs so far."""
    before = [rounded(row) for row in rows]
    return EpochLog([make(out, before) for make in LOGGERS.values()])
