"""The training loop: `train_student` turns packed images and targets into a student.

It does not ask where the targets came from: `stages/distill` hands over the teacher's,
`scripts/studies/supervised_twin.py` true masks. The checkpoint kept is the averaged student that
agrees best with the targets of the validation cases.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from meddistill.base.console import progress, say
from meddistill.base.errors import InputError, Interrupted, TrainingError, in_one_line
from meddistill.base.interrupts import held_back
from meddistill.data.frames import Preprocessing
from meddistill.run.layout import LAST_CKPT
from meddistill.settings.distill import DistillConfig
from meddistill.student.networks.student_network import StudentNetwork
from meddistill.training.adapters import FeatureAdapters
from meddistill.training.augment import Augmentation
from meddistill.training.averaging import MovingAverage
from meddistill.training.checkpoints import load_checkpoint, save_checkpoint
from meddistill.training.epoch_log import EpochRow, History
from meddistill.training.epoch_picture import choose_places, draw_cases
from meddistill.training.fabric import sum_over_ranks, train_depthwise_in_float32
from meddistill.training.optimizer import build_optimizer, scheduled_lr
from meddistill.training.packed_cases import PackedCases
from meddistill.training.selection import validation_agreement
from meddistill.training.step import DistillLosses, DistillModel, distill_step
from meddistill.training.weighting import build_weighting

NOTE_EVERY_STEPS = 10
MAX_GRADIENT_NORM = 5.0
MOST_SKIPPED_IN_A_ROW = 10


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training gave: the averaged student of `best_epoch`, on the CPU, in eval mode.

    `agreement`: its soft Dice with the targets of the validation cases; None without such cases
    (then the last epoch's student is kept). `epochs`: how many were trained.
    """

    student: StudentNetwork
    best_epoch: int
    agreement: float | None
    epochs: int


def train_student(
    student: StudentNetwork,
    train: PackedCases,
    val: PackedCases,
    preprocessing: Preprocessing,
    settings: DistillConfig,
    *,
    fabric: Fabric,
    out: Path,
    seed: int,
) -> Trained:
    """Train `student` on `train`, choose the epoch by `val`; log, checkpoint and resume in `out`.

    Same arguments and processor: same weights, byte for byte, interrupted or not. SIGINT and
    SIGTERM wait for the end of the step and a checkpoint. Under several ranks each takes its share
    of every batch, rank 0 writes, and a signal costs the epoch, as the ranks would hear it at
    different steps. Raises: InputError where `train` is empty or an earlier checkpoint in `out`
    does not fit; TrainingError where the loss stays not finite; Interrupted.
    """
    if not len(train):
        raise InputError("no training case has a target; see quality.csv for what was rejected")
    run = _Run(student, train, val, preprocessing, settings, fabric, out, seed)
    run.resume()
    with progress("train", settings.epochs * run.steps_per_epoch) as bar:
        bar.resume(run.epoch * run.steps_per_epoch + run.step)
        while run.epoch < settings.epochs:
            if run.out_of_patience():
                say(
                    f"no better agreement in {settings.patience} epochs: training stops after "
                    f"epoch {run.epoch}"
                )
                break
            row = run.train_epoch(bar.advance, bar.note)
            try:
                agreement = validation_agreement(run.average.module, run.val, preprocessing, fabric)
                row = dataclasses.replace(row, agreement=agreement)
                picture = run.draw(row)
            except Interrupted:
                run.save_checkpoint()  # the epoch's steps are done
                raise
            run.keep(row, picture)
    if run.history:
        run.history.close()
    return run.result()


class _Run:
    """State of one training run: `train_epoch`, then `keep`, once an epoch. `history` is rank 0's
    alone.

    `epoch` counts finished epochs, `step` the steps done in the one after; `sums` adds up what they
    gave.
    """

    def __init__(
        self,
        student: StudentNetwork,
        train: PackedCases,
        val: PackedCases,
        preprocessing: Preprocessing,
        settings: DistillConfig,
        fabric: Fabric,
        out: Path,
        seed: int,
    ) -> None:
        if not settings.augment:
            settings = dataclasses.replace(
                settings, feature_share=1.0
            )  # then every view is the cached one
        self.settings, self.fabric, self.out, self.seed = settings, fabric, out, seed
        self.preprocessing = preprocessing
        self.train, self.val = train.to(fabric.device), val.to(fabric.device)
        self.uses_features = bool(
            settings.feature_weight and settings.feature_share and train.feature_shapes
        )
        self.model, self.optimizer, self.raw = self._build(student)
        self.average = MovingAverage(self.raw.student, settings.ema_decay)
        train_depthwise_in_float32(self.raw.student, fabric)
        self.augment = None
        if settings.augment:
            self.augment = Augmentation(
                len(train), train.image_size, seed, fabric.device, is_grey=train.is_grey
            )
        self.steps_per_epoch = math.ceil(len(train) / settings.batch_size)
        self.rows: list[EpochRow] = []
        self.history: History | None = None
        self.best: dict[str, Any] = {"epoch": -1, "agreement": None, "state": {}}
        self.skipped_in_a_row = torch.zeros((), device=fabric.device)
        self.epoch, self.step = 0, 0
        self.sums = self._no_sums()

    def _no_sums(self) -> Tensor:
        """Sums of the terms, then of the gradient norms, then of the steps skipped; they stay on
        the device."""
        return torch.zeros(len(DistillLosses._fields) + 2, device=self.fabric.device)

    def _build(self, student: StudentNetwork) -> tuple[Any, torch.optim.Optimizer, DistillModel]:
        settings, fabric = self.settings, self.fabric
        # Adapters start from their own seed: switching features on does not move the student's
        # start.
        torch.manual_seed(self.seed + 1)
        adapters = _build_adapters(student, self.train) if self.uses_features else None
        weighting = build_weighting(
            settings.weighting,
            mask=settings.mask_weight,
            probability=settings.probability_weight,
            feature=settings.feature_weight if adapters else 0.0,
            training_doubt=self.train.doubt,
        )
        raw = DistillModel(student, adapters, weighting, settings.deep_supervision)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            raw = nn.SyncBatchNorm.convert_sync_batchnorm(raw)  # type: ignore[no-untyped-call]
        raw = raw.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = build_optimizer(raw, settings)
        model, _ = fabric.setup(raw, optimizer)
        return model, optimizer, raw

    def train_epoch(self, advance: Callable[[], None], note: Callable[[str], None]) -> EpochRow:
        """The steps of the epoch that are not done yet. Raises: Interrupted after a step and its
        checkpoint."""
        self.model.train()
        epoch = self.epoch
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train), generator=generator)
        # There before the first step: what a step copies from the host, the host waits for.
        order, cached = (
            each.to(self.fabric.device) for each in (order, self._cached_views(len(order)))
        )
        if self.augment is not None:
            self.augment.start_epoch(epoch)
        parts = list(
            zip(*(each.tensor_split(self.steps_per_epoch) for each in (order, cached)), strict=True)
        )
        seen = sum(len(part) for part, _ in parts[: self.step])
        for part, cached_part in parts[self.step :]:
            with held_back() if self.fabric.world_size == 1 else nullcontext() as request:
                self._set_lr(epoch * self.steps_per_epoch + self.step)
                self.sums += self._step(part, cached_part)
                self.step, seen = self.step + 1, seen + len(part)
                if request is not None and request.signal_number:
                    self.save_checkpoint()
            if self.step % NOTE_EVERY_STEPS == 1 or self.step == len(parts):
                # The one place that waits for the device.
                self._check_finite(epoch)
                note(self._note(float(self.sums[0]) * self.fabric.world_size / seen))
            advance()
        terms = sum_over_ranks(self.fabric, self.sums[:-2]) / len(order)
        mean = dict(zip(DistillLosses._fields, terms.tolist(), strict=True))
        views = mean["cached"] or 1.0
        return EpochRow(
            epoch=epoch + 1,
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
            lr=self.optimizer.param_groups[0]["lr"],
            gradient_norm=float(self.sums[-2]) / len(parts),
            skipped_steps=int(self.sums[-1]),
        )

    def _step(self, index: Tensor, cached: Tensor) -> Tensor:
        """One optimiser step on the cases `index` of the training set: what `train_epoch` sums up,
        of this rank.

        `index` (B,) int64 and `cached` (B,) bool on the run's device.
        """
        world, rank = self.fabric.world_size, self.fabric.global_rank
        mine, views = index[rank::world], cached[rank::world]
        # DDP averages over the ranks; the loss is the mean over the whole batch, however it is cut.
        scale = world / len(index)
        if not len(mine):
            mine, views, scale = (
                index[:1],
                cached[:1],
                0.0,
            )  # every rank must take part in every backward pass
        sums = torch.zeros(len(DistillLosses._fields), device=self.fabric.device)
        parts = min(self.settings.accumulate, len(mine))
        shares = zip(mine.tensor_split(parts), views.tensor_split(parts), strict=True)
        for number, (rows, cached_view) in enumerate(shares, start=1):
            batch = self.train.batch(rows)
            if self.augment is not None:
                batch = self.augment(batch, cached_view)
            with self.fabric.no_backward_sync(self.model, enabled=number < parts):
                losses = distill_step(
                    self.model,
                    self.raw.weighting,
                    batch,
                    cached_view,
                    self.preprocessing,
                    self.settings,
                )
                self.fabric.backward(losses.total.sum() * scale)
            sums += torch.stack([term.detach().sum() for term in losses]) * (scale > 0)
        norm = nn.utils.clip_grad_norm_(
            self.raw.parameters(), MAX_GRADIENT_NORM, foreach=True
        ).detach()
        bad = (~torch.isfinite(norm)).float()
        # A fused optimiser leaves the weights alone where this is 1, without asking the host.
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.raw.student)
        self.skipped_in_a_row = (self.skipped_in_a_row + 1) * bad
        return torch.cat(
            [torch.nan_to_num(sums, 0, 0, 0), torch.nan_to_num(norm, 0, 0, 0)[None], bad[None]]
        )

    def _cached_views(self, count: int) -> Tensor:
        """Which places of an epoch's order are drawn as the cached view: evenly spread,
        `feature_share` of them."""
        if not (self.uses_features or self.settings.prior_weight):
            return torch.zeros(count, dtype=torch.bool)
        steps = torch.arange(count + 1, dtype=torch.float64) * self.settings.feature_share
        return steps.floor().diff() > 0

    def _set_lr(self, step: int) -> None:
        total = self.settings.epochs * self.steps_per_epoch
        lr = scheduled_lr(step, total, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def _check_finite(self, epoch: int) -> None:
        if int(self.skipped_in_a_row) >= min(MOST_SKIPPED_IN_A_ROW, self.steps_per_epoch):
            raise TrainingError(
                f"epoch {epoch + 1}: the gradient was not finite in {int(self.skipped_in_a_row)} "
                "steps in a row; "
                f"lower distill.lr (now {self.settings.lr}) or set distill.precision=32-true"
            )

    def _note(self, loss: float) -> str:
        agreement = self.rows[-1].agreement if self.rows else None
        return f"loss {loss:.3f}" + (
            f", agreement {agreement:.3f}" if agreement is not None else ""
        )

    def out_of_patience(self) -> bool:
        if not self.settings.patience or self.best["agreement"] is None:
            return False
        return len(self.rows) - int(self.best["epoch"]) >= self.settings.patience

    def _is_best(self, row: EpochRow) -> bool:
        best = self.best["agreement"]
        return row.agreement is None or best is None or row.agreement > best

    def draw(self, row: EpochRow) -> np.ndarray | None:
        """The epoch's picture of a few cases where one is due: every `picture_every` epochs, and of
        the last."""
        every, patience = self.settings.picture_every, self.settings.patience
        if not every or not self.fabric.is_global_zero:
            return None
        stops = (
            bool(patience)
            and not self._is_best(row)
            and row.epoch - int(self.best["epoch"]) >= patience
        )
        if row.epoch % every and row.epoch < self.settings.epochs and not stops:
            return None
        cases = self.val if len(self.val) else self.train
        return draw_cases(
            self.average.module, cases, choose_places(cases), self.preprocessing, self.fabric
        )

    def keep(self, row: EpochRow, picture: np.ndarray | None = None) -> None:
        """Log the epoch, remember the student if it is the best so far, and write the
        checkpoint.
        """
        if self._is_best(row):
            state = {
                name: tensor.cpu().clone()
                for name, tensor in self.average.module.state_dict().items()
            }
            self.best = {"epoch": row.epoch, "agreement": row.agreement, "state": state}
        self.rows.append(row)
        self.epoch, self.step, self.sums = row.epoch, 0, self._no_sums()
        if self.fabric.is_global_zero:
            self.history = self.history or History(self.out)
            self.history.append(row, picture)
            self.save_checkpoint()
        self.fabric.barrier()

    def save_checkpoint(self) -> None:
        save_checkpoint(
            self.out,
            {
                "epoch": self.epoch,
                "step": self.step,
                "sums": self.sums,
                "model": self.raw.state_dict(),
                "average": self.average.module.state_dict(),
                "average_steps": self.average.steps,
                "optimizer": self.optimizer.state_dict(),
                "best": self.best,
                "rng": torch.get_rng_state(),
                "history": [dataclasses.asdict(row) for row in self.rows],
                "skipped": self.skipped_in_a_row,
            },
        )

    def resume(self) -> None:
        """Go on from the newest checkpoint in `out` that can be read, if there is one.

        Raises: InputError for a checkpoint of another network or settings.
        """
        checkpoint = load_checkpoint(self.out)
        if checkpoint is None:
            return
        try:
            self.raw.load_state_dict(checkpoint["model"])
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
        self.sums = checkpoint["sums"].to(self.fabric.device)
        self.skipped_in_a_row = checkpoint["skipped"].to(self.fabric.device)
        torch.set_rng_state(checkpoint["rng"])
        if self.fabric.is_global_zero:
            self.history = History(self.out, self.rows)

    def result(self) -> Trained:
        student = copy.deepcopy(self.average.module).cpu()
        student.load_state_dict(self.best["state"])
        return Trained(student, self.best["epoch"], self.best["agreement"], len(self.rows))


def start_from_share(student: nn.Module, foreground_share: float) -> None:
    """Let an untrained student expect lesions as rare as they are, by the bias of its last
    one-channel convolution.

    From probabilities of one half the first epochs would go into learning that most pixels are
    background. Source: the prior initialisation of Lin et al., "Focal Loss for Dense Object
    Detection", ICCV 2017.
    """
    heads = [
        m
        for m in student.modules()
        if isinstance(m, nn.Conv2d) and m.out_channels == 1 and m.bias is not None
    ]
    if heads and heads[-1].bias is not None:
        share = min(max(foreground_share, 0.001), 0.5)
        nn.init.constant_(heads[-1].bias, math.log(share / (1 - share)))


@torch.no_grad()
def _build_adapters(student: StudentNetwork, train: PackedCases) -> FeatureAdapters:
    student.eval()
    maps = student.features(torch.zeros(1, 3, train.image_size, train.image_size))
    shapes = [(int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in maps]
    return FeatureAdapters(shapes, train.feature_shapes)
