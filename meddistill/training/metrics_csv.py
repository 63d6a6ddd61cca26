"""The training log as a table: metrics.csv, a row an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.csv_tables import write_table
from meddistill.run.layout import METRICS_CSV
from meddistill.training.epoch_log import EpochRow


class MetricsCsv:
    """The table holds `rows` and what is logged after them; it is whole after every epoch."""

    def __init__(self, out: Path, rows: Sequence[EpochRow]) -> None:
        self.rows = list(rows)
        self._path = out / METRICS_CSV

    def log_epoch(self, row: EpochRow) -> None:
        self.rows.append(row)
        write_table(self._path, EpochRow, self.rows)

    def picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """A table has no pictures."""

    def close(self) -> None:
        """Nothing is open between epochs."""
