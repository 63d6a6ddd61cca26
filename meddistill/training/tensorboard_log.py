"""The training log as TensorBoard events: the numbers of metrics.csv, grouped, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from meddistill.training.epoch_log import EpochRow

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


class TensorBoardLog:
    """Events in `out`.

    `rows`: those of the checkpoint that training goes on from. Events of later epochs, which an
    interrupted run may have left, are withdrawn; with no rows all of them are.
    """

    def __init__(self, out: Path, rows: Sequence[EpochRow]) -> None:
        if not rows:
            for stale in out.glob("events.out.tfevents.*"):
                stale.unlink()
        self._events = SummaryWriter(str(out), purge_step=rows[-1].epoch + 1 if rows else None)

    def log_epoch(self, row: EpochRow) -> None:
        for name, tag in TAGS.items():
            if (value := getattr(row, name)) is not None:
                self._events.add_scalar(tag, value, row.epoch)
        self._events.flush()

    def picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        self._events.add_image(name, picture, epoch, dataformats="HWC")
        self._events.flush()

    def close(self) -> None:
        self._events.close()
