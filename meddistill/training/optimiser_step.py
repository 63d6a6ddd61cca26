"""One optimiser step: forward and backward passes over a draw, clipping, update, moving average."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from meddistill.base import console
from meddistill.base.errors import A_NEW_STUDENT, TrainingError, is_out_of_memory
from meddistill.data.frames import Preprocessing
from meddistill.settings.distill import DistillConfig
from meddistill.teachers.teacher import give_back_freed_memory
from meddistill.training.batches import BatchSource, Draw
from meddistill.training.learner import Learner
from meddistill.training.state import TrainingState
from meddistill.training.step import DistillLosses, distill_step

MAX_GRADIENT_NORM = 5.0


class OptimiserStep:
    """Takes steps: moves the learner's weights and the state's average, and asks the host for
    nothing."""

    def __init__(
        self,
        learner: Learner,
        state: TrainingState,
        source: BatchSource,
        preprocessing: Preprocessing,
        settings: DistillConfig,
        fabric: Fabric,
    ) -> None:
        self.learner, self.state, self.source = learner, state, source
        self.preprocessing, self.settings, self.fabric = preprocessing, settings, fabric
        self.parts = settings.accumulate

    def take(self, draw: Draw) -> Tensor:
        """One step on the cases drawn: what the state sums up, of this rank.

        Where memory runs out, the draw is cut into twice as many parts, which all later ones are,
        too. Raises: TrainingError where a single case does not fit.
        """
        # DDP averages over the ranks; the loss is the mean over the whole batch, however it is cut.
        scale = self.fabric.world_size / len(draw)
        mine = draw.of_rank(self.fabric.global_rank, self.fabric.world_size)
        if not len(mine):
            # Every rank must take part in every backward pass.
            mine, scale = draw.first(), 0.0
        # Every rank as many passes as any other: GPUs synchronise BatchNorm in each of them.
        least = max(1, len(draw) // self.fabric.world_size)
        while (sums := self._backward_if_it_fits(mine, scale, min(self.parts, least))) is None:
            self._cut_smaller(len(mine))
        norm, bad = self._update()
        self.state.skipped_in_a_row = (self.state.skipped_in_a_row + 1) * bad
        return torch.cat(
            [torch.nan_to_num(sums, 0, 0, 0), torch.nan_to_num(norm, 0, 0, 0)[None], bad[None]]
        )

    def _backward_if_it_fits(self, mine: Draw, scale: float, count: int) -> Tensor | None:
        """`_backward`, or None where memory ran out: said by a value, as what was made meanwhile is
        freed only once the error is forgotten."""
        try:
            return self._backward(mine, scale, count)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _cut_smaller(self, cases: int) -> None:
        if self.fabric.world_size > 1:
            # The other ranks wait for this one's gradients of the parts as they were.
            raise TrainingError(
                f"out of memory; set distill.accumulate higher (now {self.settings.accumulate}), "
                f"{A_NEW_STUDENT}"
            )
        if self.parts >= cases:
            raise TrainingError(
                "out of memory with one image at a time; lower distill.image_size (now "
                f"{self.settings.image_size}) or choose a smaller distill.encoder, {A_NEW_STUDENT}"
            )
        self.parts = min(2 * self.parts, cases)
        self.learner.optimizer.zero_grad()
        give_back_freed_memory()
        console.warn(
            f"out of memory: from here on the {cases} images of a step are seen in {self.parts} "
            f"parts, whose gradients are added up (distill.accumulate={self.parts} says so at once)"
        )

    def _backward(self, mine: Draw, scale: float, count: int) -> Tensor:
        """Gradients of this rank's cases, in `count` parts; sums of the terms."""
        sums = torch.zeros(len(DistillLosses._fields), device=self.fabric.device)
        for number, part in enumerate(mine.parts(count), start=1):
            batch = self.source.batch(part)
            with self.fabric.no_backward_sync(self.learner.model, enabled=number < count):
                losses = distill_step(
                    self.learner.model,
                    self.learner.network.weighting,
                    batch,
                    part.cached_view,
                    self.preprocessing,
                    self.settings,
                )
                self.fabric.backward(losses.total.sum() * scale)
            sums += torch.stack([term.detach().sum() for term in losses]) * (scale > 0)
        return sums

    def _update(self) -> tuple[Tensor, Tensor]:
        """Move the weights. Returns the gradient's norm before clipping, and 1.0 where it is not
        finite and the weights stayed."""
        network, optimizer = self.learner.network, self.learner.optimizer
        on_apple = self.fabric.device.type == "mps"  # has no kernels for lists of tensors
        norm = nn.utils.clip_grad_norm_(
            network.parameters(), MAX_GRADIENT_NORM, foreach=not on_apple
        ).detach()
        bad = (~torch.isfinite(norm)).float()
        # A fused optimiser leaves the weights alone where this is 1, without asking the host.
        optimizer.found_inf = bad  # type: ignore[attr-defined]
        if on_apple and bool(bad):
            optimizer.zero_grad()  # whether Apple's kernel heeds it is not known: nothing to step by
        optimizer.step()
        optimizer.zero_grad()
        self.state.average.update(network.student)
        return norm, bad
