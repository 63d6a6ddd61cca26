"""One epoch: the steps that are not done yet, and the row of the log that they give."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from lightning_fabric import Fabric

from meddistill.base.errors import TrainingError
from meddistill.base.interrupts import held_back
from meddistill.settings.distill import DistillConfig
from meddistill.training.batches import BatchSource
from meddistill.training.epoch_log import EpochRow
from meddistill.training.fabric import sum_over_ranks
from meddistill.training.optimiser_step import OptimiserStep
from meddistill.training.schedules import scheduled_lr
from meddistill.training.state import TrainingState
from meddistill.training.step import DistillLosses

NOTE_EVERY_STEPS = 10
MOST_SKIPPED_IN_A_ROW = 10


class EpochTrainer:
    """Trains the state through its next epoch; steps come from `source`."""

    def __init__(
        self,
        state: TrainingState,
        source: BatchSource,
        step: OptimiserStep,
        settings: DistillConfig,
        fabric: Fabric,
    ) -> None:
        self.state, self.source, self.step = state, source, step
        self.settings, self.fabric = settings, fabric

    def train(self, advance: Callable[[], None], note: Callable[[str], None]) -> EpochRow:
        """The steps of the epoch that are not done yet.

        `advance` is called after every step, `note` now and then with the loss so far. Raises:
        Interrupted after a step and its checkpoint; TrainingError where the loss stays not finite.
        """
        state, steps = self.state, self.source.steps_per_epoch
        self.step.learner.model.train()
        seen = 0
        for number, draw in enumerate(self.source.draws(state.epoch)):
            seen += len(draw)
            if number < state.step:
                continue  # done before the interruption
            with held_back() if self.fabric.world_size == 1 else nullcontext() as request:
                self._set_lr(state.epoch * steps + state.step)
                state.sums += self.step.take(draw)
                state.step += 1
                if request is not None and request.signal_number:
                    state.save()
            if state.step % NOTE_EVERY_STEPS == 1 or state.step == steps:
                # The one place that waits for the device.
                self._check_finite()
                note(self._note(float(state.sums[0]) * self.fabric.world_size / seen))
            advance()
        return self._row()

    def _row(self) -> EpochRow:
        """Means over the cases of the epoch, without an agreement."""
        sums = self.state.sums
        terms = sum_over_ranks(self.fabric, sums[:-2]) / self.source.cases_per_epoch
        mean = dict(zip(DistillLosses._fields, terms.tolist(), strict=True))
        views = mean["cached"] or 1.0
        return EpochRow(
            epoch=self.state.epoch + 1,
            loss=mean["total"],
            cross_entropy=mean["cross_entropy"],
            dice=mean["dice"],
            probability=mean["probability"],
            feature=mean["feature"] / views,
            prior=mean["prior"] / views,
            weight_mask=mean["weight_mask"],
            weight_probability=mean["weight_probability"],
            weight_feature=mean["weight_feature"],
            agreement=None,
            lr=self.state.optimizer.param_groups[0]["lr"],
            gradient_norm=float(sums[-2]) / self.source.steps_per_epoch,
            skipped_steps=int(sums[-1]),
        )

    def _set_lr(self, step: int) -> None:
        total = self.settings.epochs * self.source.steps_per_epoch
        lr = scheduled_lr(step, total, self.settings)
        for group in self.state.optimizer.param_groups:
            group["lr"] = lr

    def _check_finite(self) -> None:
        skipped = int(self.state.skipped_in_a_row)
        if skipped >= min(MOST_SKIPPED_IN_A_ROW, self.source.steps_per_epoch):
            few = self.settings.colearning.few_boxes
            setting = "distill.colearning.lr" if few else "distill.lr"
            raise TrainingError(
                f"epoch {self.state.epoch + 1}: the gradient was not finite in {skipped} steps in "
                f"a row; lower {setting} (now {self.settings.lr}) or set "
                "distill.precision=32-true"
            )

    def _note(self, loss: float) -> str:
        agreement = self.state.rows[-1].agreement if self.state.rows else None
        return f"loss {loss:.3f}" + (
            f", agreement {agreement:.3f}" if agreement is not None else ""
        )
