"""The training log: a row an epoch in metrics.csv, the same numbers as TensorBoard events."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from meddistill.artifacts import METRICS_CSV
from meddistill.files import write_table


@dataclasses.dataclass(frozen=True, slots=True)
class EpochRow:
    """One epoch. Losses are means over the cases drawn, before their weights (`loss` is after them).

    `feature` and `prior` are means over the cases drawn as the cached view. `agreement`: soft Dice of the
    averaged student with the teacher on the validation cases, in [0, 1]; empty without validation cases. `lr` is the
    epoch's last. `skipped_steps`: how many were left out because their gradient was not finite.
    """

    epoch: int
    loss: float
    cross_entropy: float
    dice: float
    probability: float
    feature: float
    prior: float
    weight_mask: float
    weight_probability: float
    weight_feature: float
    agreement: float | None
    lr: float
    gradient_norm: float
    skipped_steps: int


class History:
    """Rows so far, on disk after every epoch. Reopening after an interruption writes the same files again."""

    def __init__(self, out: Path, rows: Sequence[EpochRow] = ()) -> None:
        self.rows: list[EpochRow] = []
        self._out = out
        for stale in out.glob("events.out.tfevents.*"):
            stale.unlink()
        self._events = SummaryWriter(str(out))
        for row in rows:
            self._add(row)

    def append(self, row: EpochRow) -> None:
        self._add(row)
        write_table(self._out / METRICS_CSV, EpochRow, self.rows)
        self._events.flush()

    def close(self) -> None:
        self._events.close()

    def _add(self, row: EpochRow) -> None:
        values = dataclasses.asdict(row)
        rounded: dict[str, Any] = {
            name: float(f"{value:.6g}") for name, value in values.items() if isinstance(value, float)
        }
        self.rows.append(dataclasses.replace(row, **rounded))
        for name, value in values.items():
            if name != "epoch" and value is not None:
                self._events.add_scalar(name, value, row.epoch)
