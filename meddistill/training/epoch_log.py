"""The training log: a row an epoch, given to every logger that there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


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


class Logger(Protocol):
    """Where epochs are shown. What it wrote of an epoch is there when the call returns."""

    def log_epoch(self, row: EpochRow) -> None: ...

    def picture(self, name: str, picture: np.ndarray, epoch: int) -> None:
        """`picture`: uint8 RGB (H, W, 3)."""
        ...

    def close(self) -> None: ...


class EpochLog:
    """Hands every epoch to all loggers, its numbers rounded as they are shown."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = loggers

    def append(self, row: EpochRow, picture: np.ndarray | None = None) -> None:
        """Log an epoch, and `picture` of its cases (training cases where it has no agreement),
        uint8 RGB (H, W, 3)."""
        split = "training" if row.agreement is None else "validation"
        for logger in self.loggers:
            logger.log_epoch(rounded(row))
            if picture is not None:
                logger.picture(f"{split}/cases", picture, row.epoch)

    def close(self) -> None:
        for logger in self.loggers:
            logger.close()


def rounded(row: EpochRow) -> EpochRow:
    """Floats to six digits, as metrics.csv shows them."""
    values = dataclasses.asdict(row)
    rounded: dict[str, Any] = {
        name: float(f"{value:.6g}") for name, value in values.items() if isinstance(value, float)
    }
    return dataclasses.replace(row, **rounded)
