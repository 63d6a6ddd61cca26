"""Where a step's cases come from: the loop asks a source for the next draw, whatever it draws from.

Another mixture of cases (in shares, or of targets that change while training goes on) is another
`BatchSource`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from meddistill.training.augment import NUMBERS, Augmentation
from meddistill.training.packed_cases import Batch, PackedCases


@dataclasses.dataclass(frozen=True)
class Draw:
    """The cases of one step: `index` (B,) int64, their places in the training set, `cached_view`
    (B,) bool, those drawn as the view that their features were computed on, and `numbers` (B, 16),
    what their random views are made of, where there are any; all on the device that trains."""

    index: Tensor
    cached_view: Tensor
    numbers: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def of_rank(self, rank: int, world_size: int) -> Draw:
        """The share of one process; may be empty."""
        return self._cut(slice(rank, None, world_size))

    def first(self) -> Draw:
        return self._cut(slice(1))

    def parts(self, count: int) -> list[Draw]:
        """`count` draws of nearly equal size, in this order."""
        size, rest = divmod(len(self), count)
        ends = [number * size + min(number, rest) for number in range(count + 1)]
        return [self._cut(slice(*pair)) for pair in itertools.pairwise(ends)]

    def _cut(self, places: slice) -> Draw:
        numbers = None if self.numbers is None else self.numbers[places]
        return Draw(self.index[places], self.cached_view[places], numbers)


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
        numbers = None
        if self.augment is not None:
            numbers = self.augment.numbers(epoch, len(self.cases))[order]
        draw = _on_device(order, self._cached_views(len(order)), numbers, self.cases)
        yield from draw.parts(self.steps_per_epoch)

    def batch(self, draw: Draw) -> Batch:
        return _seen(self.cases, draw, self.augment)

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
        kinds = [
            self._round_robin(boxed, epoch, self.boxed_a_step, 0),
            self._round_robin(count - boxed, epoch, self.believed_a_step, 1),
        ]
        order = torch.cat([kinds[0].index, boxed + kinds[1].index], dim=1).flatten()
        numbers = None
        if self.augment is not None:
            numbers = torch.cat([kind.numbers for kind in kinds], dim=1).flatten(0, 1)
        draw = _on_device(order, torch.zeros_like(order, dtype=torch.bool), numbers, self.cases)
        yield from draw.parts(self.steps_per_epoch)

    def batch(self, draw: Draw) -> Batch:
        return _seen(self.cases, draw, self.augment)

    def _round_robin(self, count: int, epoch: int, a_step: int, kind: int) -> _Turns:
        """What is drawn in `epoch` of the `count` cases of a kind: 0 boxed, 1 believed."""
        wanted = self.steps_per_epoch * a_step
        begin = epoch * wanted
        turns = range(begin // max(count, 1), (begin + wanted - 1) // max(count, 1) + 1)
        orders, numbers = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, NUMBERS)]
        for turn in turns:
            key = 2 * turn + kind
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + key)
            orders.append(torch.randperm(count, generator=generator))
            if self.augment is not None:
                # A view of its own each time that a case comes round, however few there are.
                numbers.append(self.augment.numbers(key, count)[orders[-1]])
        first = begin - turns.start * max(count, 1)
        drawn = slice(first, first + wanted)
        shape = (self.steps_per_epoch, a_step)
        return _Turns(
            torch.cat(orders)[drawn].view(shape),
            torch.cat(numbers)[drawn].view(*shape, NUMBERS) if self.augment else numbers[0],
        )


@dataclasses.dataclass(frozen=True)
class _Turns:
    """Cases of a kind: `index` (steps, a step) among them, `numbers` (steps, a step, 16) of their
    views."""

    index: Tensor
    numbers: Tensor


def _on_device(order: Tensor, cached: Tensor, numbers: Tensor | None, cases: PackedCases) -> Draw:
    """All of an epoch, there before its first step: what a step copies from the host, the host
    waits for."""
    device = cases.device
    return Draw(
        order.to(device), cached.to(device), None if numbers is None else numbers.to(device)
    )


def _seen(cases: PackedCases, draw: Draw, augment: Augmentation | None) -> Batch:
    batch = cases.batch(draw.index)
    if augment is None or draw.numbers is None:
        return batch
    return augment(batch, draw.cached_view, draw.numbers)
