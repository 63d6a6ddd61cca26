"""All that changes while a student is trained: what a checkpoint holds, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from meddistill.base.errors import InputError, in_one_line
from meddistill.run.layout import LAST_CKPT
from meddistill.student.networks.student_network import StudentNetwork
from meddistill.training.averaging import MovingAverage
from meddistill.training.checkpoints import load_checkpoint, save_checkpoint
from meddistill.training.epoch_log import EpochRow
from meddistill.training.learner import Learner
from meddistill.training.step import DistillLosses


class TrainingState:
    """The state of one training run, kept in `out`.

    `epoch` counts finished epochs, `step` the steps done in the one after; `sums` adds up what they
    gave: the terms of the loss, then the gradient norms, then the steps skipped. `skipped_in_a_row`
    and `sums` stay on the device. `rows`: the finished epochs. `best`: the epoch kept so far, its
    agreement and the weights of its averaged student; with `keeps_last` always the newest.
    """

    def __init__(
        self,
        learner: Learner,
        average: MovingAverage[StudentNetwork],
        out: Path,
        *,
        keeps_last: bool = False,
    ) -> None:
        self.keeps_last = keeps_last
        self.network, self.optimizer = learner.network, learner.optimizer
        self.average, self.out = average, out
        self.device = learner.device
        self.rows: list[EpochRow] = []
        self.best: dict[str, Any] = {"epoch": -1, "agreement": None, "state": {}}
        self.skipped_in_a_row = torch.zeros((), device=self.device)
        self.epoch, self.step = 0, 0
        self.sums = self._no_sums()

    def _no_sums(self) -> Tensor:
        return torch.zeros(len(DistillLosses._fields) + 2, device=self.device)

    def is_kept(self, row: EpochRow) -> bool:
        """Whether this epoch's student takes the place of the one kept so far."""
        best = self.best["agreement"]
        if self.keeps_last or row.agreement is None or best is None:
            return True
        return row.agreement > float(best)

    def epochs_without_better(self, epoch: int) -> int:
        """How many epochs `epoch` lies after the best; 0 where epochs cannot be compared."""
        return 0 if self.best["agreement"] is None else epoch - int(self.best["epoch"])

    def finish_epoch(self, row: EpochRow) -> None:
        """Take over an epoch that is done and judged; remember its student if it is kept."""
        if self.is_kept(row):
            state = {
                name: tensor.cpu().clone()
                for name, tensor in self.average.module.state_dict().items()
            }
            self.best = {"epoch": row.epoch, "agreement": row.agreement, "state": state}
        self.rows.append(row)
        self.epoch, self.step, self.sums = row.epoch, 0, self._no_sums()

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(
            self.out,
            {
                "epoch": self.epoch,
                "step": self.step,
                "sums": self.sums,
                "model": self.network.state_dict(),
                "average": self.average.module.state_dict(),
                "average_steps": self.average.steps,
                "optimizer": self.optimizer.state_dict(),
                "best": self.best,
                "rng": torch.get_rng_state(),
                "history": [dataclasses.asdict(row) for row in self.rows],
                "skipped": self.skipped_in_a_row,
            },
        )

    def resume(self) -> bool:
        """Go on from the newest checkpoint in `out` that can be read; whether there is one.

        Raises: InputError for a checkpoint of another network or settings.
        """
        checkpoint = load_checkpoint(self.out)
        if checkpoint is None:
            return False
        try:
            self.network.load_state_dict(checkpoint["model"])
            self.average.module.load_state_dict(checkpoint["average"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self.rows = [EpochRow(**row) for row in checkpoint["history"]]
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{self.out / LAST_CKPT} does not fit this training; delete it to start again "
                f"({in_one_line(error)})"
            ) from error
        self.average.steps = checkpoint["average_steps"]
        self.best = checkpoint["best"]
        self.epoch, self.step = int(checkpoint["epoch"]), int(checkpoint["step"])
        self.sums = checkpoint["sums"].to(self.device)
        self.skipped_in_a_row = checkpoint["skipped"].to(self.device)
        torch.set_rng_state(checkpoint["rng"])
        return True
