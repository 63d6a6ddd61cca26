"""The training log: a row an epoch in metrics.csv; the same numbers, grouped, and pictures as
TensorBoard events."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from meddistill.base.csv_tables import write_table
from meddistill.run.layout import METRICS_CSV

TAGS = {
    "loss": "loss/total",
    "cross_entropy": "loss/cross_entropy",
    "dice": "loss/dice",
    "probability": "loss/probability",
    "feature": "loss/feature",
    "prior": "loss/prior",
    "weight_mask": "weight/mask",
    "weight_probability": "weight/probability",
    "weight_feature": "weight/feature",
    "agreement": "validation/agreement",
    "lr": "optimiser/lr",
    "gradient_norm": "optimiser/gradient_norm",
    "skipped_steps": "optimiser/skipped_steps",
}
"""Column of metrics.csv -> its name in TensorBoard, which shows what stands before the slash as a
section."""


@dataclasses.dataclass(frozen=True, slots=True)
class EpochRow:
    """One epoch. Losses are means over the cases drawn, before their weights (`loss` is after
    them).

    `feature` and `prior` are means over the cases drawn as the cached view. `agreement`: soft Dice
    of the averaged student with the teacher on the validation cases, in [0, 1]; empty without
    validation cases. `lr` is the epoch's last. `skipped_steps`: how many were left out because
    their gradient was not finite.
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
    """Rows so far, on disk after every epoch.

    `rows`: those of the checkpoint that training goes on from. Events of later epochs, which an
    interrupted run may have left, are withdrawn; with no rows all of them are.
    """

    def __init__(self, out: Path, rows: Sequence[EpochRow] = ()) -> None:
        self.rows = [_rounded(row) for row in rows]
        self._out = out
        if not rows:
            for stale in out.glob("events.out.tfevents.*"):
                stale.unlink()
        self._events = SummaryWriter(str(out), purge_step=rows[-1].epoch + 1 if rows else None)

    def append(self, row: EpochRow, picture: np.ndarray | None = None) -> None:
        """Log an epoch, and `picture` of its cases (training cases where it has no agreement),
        uint8 RGB (H, W, 3)."""
        self.rows.append(_rounded(row))
        write_table(self._out / METRICS_CSV, EpochRow, self.rows)
        for name, tag in TAGS.items():
            if (value := getattr(row, name)) is not None:
                self._events.add_scalar(tag, value, row.epoch)
        if picture is not None:
            split = "training" if row.agreement is None else "validation"
            self._events.add_image(f"{split}/cases", picture, row.epoch, dataformats="HWC")
        self._events.flush()

    def close(self) -> None:
        self._events.close()


def _rounded(row: EpochRow) -> EpochRow:
    """Floats to six digits, as metrics.csv shows them."""
    values = dataclasses.asdict(row)
    rounded: dict[str, Any] = {
        name: float(f"{value:.6g}") for name, value in values.items() if isinstance(value, float)
    }
    return dataclasses.replace(row, **rounded)
