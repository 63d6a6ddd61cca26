"""Where a step's cases come from: the loop asks a source for the next draw, whatever it draws from.

Another mixture of cases (in shares, or of targets that change while training goes on) is another
`BatchSource`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from meddistill.training.augment import Augmentation
from meddistill.training.packed_cases import Batch, PackedCases


@dataclasses.dataclass(frozen=True)
class Draw:
    """The cases of one step: `index` (B,) int64, their places in the training set, and
    `cached_view` (B,) bool, those drawn as the view that their features were computed on; both on
    the device that trains."""

    index: Tensor
    cached_view: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def of_rank(self, rank: int, world_size: int) -> Draw:
        """The share of one process; may be empty."""
        return Draw(self.index[rank::world_size], self.cached_view[rank::world_size])

    def first(self) -> Draw:
        return Draw(self.index[:1], self.cached_view[:1])

    def parts(self, count: int) -> list[Draw]:
        """`count` draws of nearly equal size, in this order."""
        pairs = zip(
            self.index.tensor_split(count), self.cached_view.tensor_split(count), strict=True
        )
        return [Draw(*pair) for pair in pairs]


class BatchSource(Protocol):
    """What a training step is fed from. The same seed gives the same draws, at whichever step an
    epoch is taken up."""

    steps_per_epoch: int
    cases_per_epoch: int

    def draws(self, epoch: int) -> Iterator[Draw]:
        """The draws of `epoch`, a step each; `batch` is asked for them in this order, by an epoch
        that is taken up in its middle for the later ones alone."""
        ...

    def batch(self, draw: Draw) -> Batch:
        """Images and targets of a draw or of a part of it, as the network sees them."""
        ...


class ShuffledCases:
    """Every case once an epoch, in a new order, seen anew by `augment` where that is given.

    `cached_share`: share of an epoch's places that are drawn as the cached view, evenly spread.
    """

    def __init__(
        self,
        cases: PackedCases,
        batch_size: int,
        cached_share: float,
        seed: int,
        augment: Augmentation | None = None,
    ) -> None:
        self.cases, self.augment = cases, augment
        self.cached_share, self.seed = cached_share, seed
        self.steps_per_epoch = math.ceil(len(cases) / batch_size)
        self.cases_per_epoch = len(cases)

    def draws(self, epoch: int) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.cases), generator=generator)
        # There before the first step: what a step copies from the host, the host waits for.
        order, cached = (
            each.to(self.cases.device) for each in (order, self._cached_views(len(order)))
        )
        if self.augment is not None:
            self.augment.start_epoch(epoch)
        yield from Draw(order, cached).parts(self.steps_per_epoch)

    def batch(self, draw: Draw) -> Batch:
        batch = self.cases.batch(draw.index)
        return batch if self.augment is None else self.augment(batch, draw.cached_view)

    def _cached_views(self, count: int) -> Tensor:
        steps = torch.arange(count + 1, dtype=torch.float64) * self.cached_share
        return steps.floor().diff() > 0


class SharedDraws:
    """Boxed cases and believed ones in fixed shares of every step, however many there are of each.

    Both go round in shuffled orders of their own, a new one each time all have been drawn, so that
    a case comes again only after all others of its kind. An epoch is a number of steps, not a pass.
    """

    def __init__(
        self,
        cases: PackedCases,
        steps_per_epoch: int,
        batch: tuple[int, int],
        seed: int,
        augment: Augmentation | None = None,
    ) -> None:
        """`cases`: the first `cases.boxed` of them boxed. `batch`: how many boxed and how many
        believed cases a step draws."""
        self.cases, self.augment, self.seed = cases, augment, seed
        self.boxed_a_step, self.believed_a_step = batch
        self.steps_per_epoch = steps_per_epoch
        self.cases_per_epoch = steps_per_epoch * sum(batch)

    def draws(self, epoch: int) -> Iterator[Draw]:
        boxed, count = self.cases.boxed, len(self.cases)
        steps = self.steps_per_epoch
        ours = self._round_robin(0, boxed, epoch, self.boxed_a_step)
        theirs = self._round_robin(boxed, count - boxed, epoch, self.believed_a_step)
        order = torch.cat(
            [ours.view(steps, self.boxed_a_step), theirs.view(steps, self.believed_a_step)], dim=1
        )
        order = order.flatten().to(self.cases.device)
        if self.augment is not None:
            self.augment.start_epoch(epoch)
        yield from Draw(order, torch.zeros_like(order, dtype=torch.bool)).parts(steps)

    def batch(self, draw: Draw) -> Batch:
        batch = self.cases.batch(draw.index)
        return batch if self.augment is None else self.augment(batch, draw.cached_view)

    def _round_robin(self, first: int, count: int, epoch: int, a_step: int) -> Tensor:
        """Places of the cases drawn in `epoch`, (steps * a_step,) from `first` on."""
        wanted = self.steps_per_epoch * a_step
        begin = epoch * wanted
        rounds = range(begin // max(count, 1), (begin + wanted - 1) // max(count, 1) + 1)
        orders = [
            torch.randperm(
                count,
                generator=torch.Generator().manual_seed(
                    self.seed * 1_000_003 + 2 * turn + bool(first)
                ),
            )
            for turn in rounds
        ]
        places = torch.cat(orders) if orders else torch.zeros(0, dtype=torch.int64)
        offset = begin - rounds.start * max(count, 1)
        return first + places[offset : offset + wanted]
