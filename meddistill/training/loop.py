"""The training loop: `train_student` turns packed images and targets into a student.

It does not ask where the targets came from: `stages/distill` hands over the teacher's,
`scripts/studies/supervised_twin.py` true masks. The checkpoint kept is the averaged student that
agrees best with the targets of the validation cases.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric
from torch import Tensor, nn

from meddistill.base.console import progress, say
from meddistill.base.errors import InputError, Interrupted
from meddistill.data.frames import Preprocessing
from meddistill.settings.distill import DistillConfig
from meddistill.settings.flips import sides_kept
from meddistill.student.networks.student_network import StudentNetwork
from meddistill.training.augment import Augmentation
from meddistill.training.averaging import MovingAverage
from meddistill.training.batches import BatchSource, SharedDraws, ShuffledCases
from meddistill.training.epoch import EpochTrainer
from meddistill.training.epoch_log import EpochLog, EpochRow
from meddistill.training.epoch_picture import choose_places, draw_cases
from meddistill.training.fabric import train_depthwise_in_float32
from meddistill.training.known_loggers import open_log
from meddistill.training.learner import build_learner, uses_features
from meddistill.training.optimiser_step import OptimiserStep
from meddistill.training.packed_cases import PackedCases, TrainingData
from meddistill.training.selection import predict_probs, validation_agreement
from meddistill.training.state import TrainingState


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training gave: the averaged student of `best_epoch`, on the CPU, in eval mode.

    `agreement`: its soft Dice with the targets of the validation cases; None without such cases.
    `best_epoch`: the last one without them, or with `keep=last`. `epochs`: how many were trained.
    """

    student: StudentNetwork
    best_epoch: int
    agreement: float | None
    epochs: int


def train_student(
    student: StudentNetwork,
    data: TrainingData,
    preprocessing: Preprocessing,
    settings: DistillConfig,
    *,
    fabric: Fabric,
    out: Path,
    seed: int,
) -> Trained:
    """Train `student`, choose the epoch by the validation cases (`settings.keep`); log, checkpoint and
    resume in `out`.

    Same arguments and processor: same weights, byte for byte, interrupted or not. SIGINT and
    SIGTERM wait for the end of the step and a checkpoint. Under several ranks each takes its share
    of every batch, rank 0 writes, and a signal costs the epoch, as the ranks would hear it at
    different steps. Raises: InputError where there is no training case or an earlier checkpoint in
    `out` does not fit; TrainingError where the loss stays not finite; Interrupted.

    Args:
        student: the network, on the CPU.
        data: what it learns from, and what its epoch is chosen by.
        preprocessing: of its images.
        settings: losses, optimiser, epochs.
        fabric: where it is trained.
        out: its directory.
        seed: of order, views and adapters.
    """
    if not len(data.train):
        raise InputError("no training case has a target; see quality.csv for what was rejected")
    training = Training(student, data, preprocessing, settings, fabric, out, seed)
    training.resume()
    state, steps = training.state, training.source.steps_per_epoch
    with progress("train", settings.epochs * steps) as bar:
        bar.resume(state.epoch * steps + state.step)
        while state.epoch < settings.epochs:
            if training.out_of_patience(len(state.rows)):
                say(
                    f"no better agreement in {settings.patience} epochs: training stops after "
                    f"epoch {state.epoch}"
                )
                break
            training.revise()
            row = training.epoch_trainer.train(bar.advance, bar.note)
            try:
                row = dataclasses.replace(row, agreement=training.judge())
                picture = training.draw(row)
            except Interrupted:
                if fabric.is_global_zero:
                    state.save()  # the epoch's steps are done
                raise
            training.keep(row, picture)
    training.close()
    return training.result()


class Training:
    """The parts of one training run, put together; its loop is `train_student`.

    `log` is rank 0's alone, and is opened with the first epoch that there is to show.
    """

    def __init__(
        self,
        student: StudentNetwork,
        data: TrainingData,
        preprocessing: Preprocessing,
        settings: DistillConfig,
        fabric: Fabric,
        out: Path,
        seed: int,
    ) -> None:
        if not settings.augment:
            # Then every view is the cached one.
            settings = dataclasses.replace(settings, feature_share=1.0)
        self.preprocessing, self.settings = preprocessing, settings
        self.fabric, self.out = fabric, out
        self.train, self.val = data.train.to(fabric.device), data.val.to(fabric.device)
        self.to_revise = data.revise
        self.learner = build_learner(student, self.train, settings, fabric, seed)
        average = MovingAverage(self.learner.network.student, settings.ema_decay)
        train_depthwise_in_float32(self.learner.network.student, fabric)
        self.state = TrainingState(self.learner, average, out, keeps_last=settings.keep == "last")
        self.keeps_sides = sides_kept(settings.flips, data.findings.keeps_sides())
        self.source = _source(self.train, settings, seed, self.keeps_sides)
        self.step = OptimiserStep(
            self.learner, self.state, self.source, preprocessing, settings, fabric
        )
        self.epoch_trainer = EpochTrainer(self.state, self.source, self.step, settings, fabric)
        self.log: EpochLog | None = None

    def resume(self) -> None:
        """Go on where an earlier run in `out` stopped. Raises: as `TrainingState.resume`."""
        if self.state.resume() and self.fabric.is_global_zero:
            self.log = open_log(self.out, self.state.rows)

    def revise(self) -> None:
        """Let the averaged student have a say in the targets, once, after half of the epochs (or
        when training is taken up after that: then it was asked before)."""
        if self.to_revise is None or not 0 < self.settings.epochs // 2 <= self.state.epoch:
            return

        def see(frames: Tensor) -> Tensor:
            student = self.state.average.module
            frames = frames.to(self.fabric.device)
            seen = predict_probs(student, frames, self.preprocessing, self.fabric)
            if self.keeps_sides[0]:
                return seen
            mirrored = predict_probs(student, frames.flip(3), self.preprocessing, self.fabric)
            return (seen + mirrored.flip(3)) / 2

        self.to_revise(see, self.train)
        self.to_revise = None

    def judge(self) -> float | None:
        """Agreement of the averaged student with the validation targets; None without those."""
        student = self.state.average.module
        return validation_agreement(student, self.val, self.preprocessing, self.fabric)

    def out_of_patience(self, epoch: int) -> bool:
        patience = self.settings.patience
        return bool(patience) and self.state.epochs_without_better(epoch) >= patience

    def draw(self, row: EpochRow) -> np.ndarray | None:
        """The epoch's picture of a few cases where one is due: every `picture_every` epochs, and of
        the last."""
        every = self.settings.picture_every
        if not every or not self.fabric.is_global_zero:
            return None
        stops = not self.state.is_kept(row) and self.out_of_patience(row.epoch)
        if row.epoch % every and row.epoch < self.settings.epochs and not stops:
            return None
        cases = self.val if len(self.val) else self.train
        student, places = self.state.average.module, choose_places(cases)
        return draw_cases(student, cases, places, self.preprocessing, self.fabric)

    def keep(self, row: EpochRow, picture: np.ndarray | None = None) -> None:
        """Log the epoch, remember the student if it is the best so far, and write the
        checkpoint."""
        self.state.finish_epoch(row)
        if self.fabric.is_global_zero:
            self.log = self.log or open_log(self.out)
            self.log.append(row, picture)
            self.state.save()
        self.fabric.barrier()

    def close(self) -> None:
        if self.log:
            self.log.close()

    def result(self) -> Trained:
        best = self.state.best
        student = copy.deepcopy(self.state.average.module).cpu()
        student.load_state_dict(best["state"])
        return Trained(student, best["epoch"], best["agreement"], len(self.state.rows))


def _source(
    train: PackedCases, settings: DistillConfig, seed: int, keeps_sides: tuple[bool, bool]
) -> BatchSource:
    augment = None
    if settings.augment:
        augment = Augmentation(
            train.image_size,
            seed,
            train.device,
            is_grey=train.is_grey,
            keeps_sides=keeps_sides,
        )
    if settings.colearning.few_boxes:
        mixed = train.boxed < len(train)
        share = settings.colearning.share_of_boxed(train.boxed) if mixed else 1.0
        boxed = max(1, round(settings.batch_size * share))
        if share < 1:
            boxed = min(boxed, settings.batch_size - 1)
        steps = math.ceil(settings.colearning.steps / settings.epochs)
        batch = (boxed, settings.batch_size - boxed)
        return SharedDraws(train, steps, batch, seed, augment)
    # Only features and box priors are defined on the cached view alone.
    needs_it = uses_features(train, settings) or settings.prior_weight
    share = settings.feature_share if needs_it else 0.0
    return ShuffledCases(train, settings.batch_size, share, seed, augment)


def start_from_share(student: nn.Module, *foreground_shares: float) -> None:
    """Let an untrained student expect findings as rare as they are, by the bias of its last
    convolution with a channel for each.

    From probabilities of one half the first epochs would go into learning that most pixels are
    background. Source: the prior initialisation of Lin et al., "Focal Loss for Dense Object
    Detection", ICCV 2017.
    """
    heads = [
        m
        for m in student.modules()
        if isinstance(m, nn.Conv2d)
        and m.out_channels == len(foreground_shares)
        and m.bias is not None
    ]
    if heads and heads[-1].bias is not None:
        for place, foreground_share in enumerate(foreground_shares):
            share = min(max(foreground_share, 0.001), 0.5)
            nn.init.constant_(heads[-1].bias[place], math.log(share / (1 - share)))
