"""The training loop: `train_student` turns packed images and targets into a student.

It does not ask where the targets came from: `stages/distill` hands over the teacher's, `scripts/supervised_twin.py`
true masks. The checkpoint kept is the averaged student that agrees best with the targets of the validation cases.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from meddistill.artifacts import LAST_CKPT, atomic_path
from meddistill.config import DistillConfig
from meddistill.console import progress
from meddistill.data.augment import Augmentation
from meddistill.data.dataset import PackedCases
from meddistill.data.frames import Preprocessing, normalise
from meddistill.distillation.averaging import MovingAverage
from meddistill.distillation.features import FeatureAdapters
from meddistill.distillation.history import EpochRow, History
from meddistill.distillation.losses import soft_dice_agreement
from meddistill.distillation.step import DistillLosses, DistillModel, distill_step
from meddistill.distillation.weighting import FixedWeighting, PaperWeighting, Weighting
from meddistill.errors import InputError
from meddistill.models.network import StudentNetwork

NOTE_EVERY_STEPS = 10
MAX_GRADIENT_NORM = 5.0
_WEIGHTINGS: dict[str, Callable[[float, float, float], Weighting]] = {"fixed": FixedWeighting, "paper": PaperWeighting}


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training gave: the averaged student of `best_epoch`, on the CPU, in eval mode.

    `agreement`: its soft Dice with the targets of the validation cases; None without such cases (then the last
    epoch's student is kept).
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

    Same arguments and processor: same weights, byte for byte, interrupted or not. Raises: InputError where `train` is
    empty or an earlier checkpoint in `out` does not fit.
    """
    if not len(train):
        raise InputError("no training case has a target; see quality.csv for what was rejected")
    run = _Run(student, train, val, preprocessing, settings, fabric, out, seed)
    first_epoch = run.resume()
    with progress("train", settings.epochs * run.steps_per_epoch) as bar:
        bar.advance(first_epoch * run.steps_per_epoch)
        for epoch in range(first_epoch, settings.epochs):
            row = run.train_epoch(epoch, bar.advance, bar.note)
            row = dataclasses.replace(row, agreement=run.validate())
            run.keep(row)
    run.history.close()
    return run.result()


class _Run:
    """State of one training run; `train_epoch`, `validate`, `keep` once an epoch, in that order."""

    def __init__(
        self, student: StudentNetwork, train: PackedCases, val: PackedCases, preprocessing: Preprocessing,
        settings: DistillConfig, fabric: Fabric, out: Path, seed: int,
    ) -> None:  # fmt: skip
        self.settings, self.fabric, self.out, self.seed = settings, fabric, out, seed
        self.preprocessing = preprocessing
        self.train, self.val = train.to(fabric.device), val.to(fabric.device)
        self.uses_features = bool(settings.feature_weight and settings.feature_share and train.feature_shapes)
        # Adapters start from their own seed: switching features on does not move the student's start.
        torch.manual_seed(seed + 1)
        adapters = _build_adapters(student, train) if self.uses_features else None
        model = DistillModel(student, adapters).to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MovingAverage(model.student, settings.ema_decay)
        self.raw = model
        self.model, self.optimizer = fabric.setup(model, _build_optimizer(model, settings))
        self.weighting = _WEIGHTINGS[settings.weighting](
            settings.mask_weight, settings.probability_weight, settings.feature_weight
        )
        self.augment = Augmentation(len(train), train.image_size, seed, fabric.device) if settings.augment else None
        self.steps_per_epoch = math.ceil(len(train) / settings.batch_size)
        self.history = History(out)
        self.best: dict[str, Any] = {"epoch": -1, "agreement": None, "state": {}}

    def train_epoch(self, epoch: int, advance: Any, note: Any) -> EpochRow:
        self.model.train()
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train), generator=generator)
        cached = self._cached_views(len(order))
        if self.augment is not None:
            self.augment.start_epoch(epoch)
        sums = torch.zeros(len(DistillLosses._fields), device=self.fabric.device)
        norms = torch.zeros((), device=self.fabric.device)
        lr = 0.0
        parts = torch.arange(len(order)).tensor_split(self.steps_per_epoch)
        for step, part in enumerate(parts):
            lr = self._set_lr(epoch * self.steps_per_epoch + step)
            step_sums, norm = self._step(order[part], cached[part])
            sums += step_sums
            norms += norm
            if step % NOTE_EVERY_STEPS == 0:
                # The one place in the epoch that waits for the device.
                note(self._note(float(sums[0]) / (int(part[-1]) + 1)))
            advance()
        mean = dict(zip(DistillLosses._fields, (sums / len(order)).tolist(), strict=True))
        weights = {name: mean[name] for name in ("weight_mask", "weight_probability", "weight_feature")}
        return EpochRow(
            epoch=epoch + 1, loss=mean["total"], bce=mean["bce"], dice=mean["dice"], probability=mean["probability"],
            feature=mean["feature"] / mean["cached"] if mean["cached"] else 0.0, **weights, agreement=None, lr=lr,
            gradient_norm=float(norms) / len(parts),
        )  # fmt: skip

    def _step(self, index: Tensor, cached: Tensor) -> tuple[Tensor, Tensor]:
        """One optimiser step on the cases `index` of the training set: sums of the loss terms, gradient norm."""
        sums = torch.zeros(len(DistillLosses._fields), device=self.fabric.device)
        parts = min(self.settings.accumulate, len(index))
        for number, rows in enumerate(torch.arange(len(index)).tensor_split(parts), start=1):
            batch = self.train.batch(index[rows])
            cached_view = cached[rows].to(self.fabric.device)
            if self.augment is not None:
                batch = self.augment(batch, cached_view)
            with self.fabric.no_backward_sync(self.model, enabled=number < parts):
                losses = distill_step(self.model, batch, cached_view, self.preprocessing, self.weighting, self.settings)
                self.fabric.backward(losses.total.sum() / len(index))
            sums += torch.stack([term.detach().sum() for term in losses])
        norm = nn.utils.clip_grad_norm_(self.raw.parameters(), MAX_GRADIENT_NORM, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.raw.student)
        return sums, norm.detach()

    def _cached_views(self, count: int) -> Tensor:
        """Which places of an epoch's order are drawn as the cached view: evenly spread, `feature_share` of them."""
        if not self.uses_features:
            return torch.zeros(count, dtype=torch.bool)
        steps = torch.arange(count + 1, dtype=torch.float64) * self.settings.feature_share
        return steps.floor().diff() > 0

    def _set_lr(self, step: int) -> float:
        total = self.settings.epochs * self.steps_per_epoch
        lr = cosine_lr(step, total, self.settings.lr, self.settings.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _note(self, loss: float) -> str:
        agreement = self.history.rows[-1].agreement if self.history.rows else None
        return f"loss {loss:.3f}" + (f", agreement {agreement:.3f}" if agreement is not None else "")

    @torch.no_grad()
    def validate(self) -> float | None:
        """Mean agreement of the averaged student with the validation targets; None without validation cases."""
        if not len(self.val):
            return None
        found = []
        for start in range(0, len(self.val), 2 * self.settings.batch_size):
            index = torch.arange(start, min(start + 2 * self.settings.batch_size, len(self.val)))
            batch = self.val.batch(index)
            frames = normalise(batch.images, self.preprocessing).contiguous(memory_format=torch.channels_last)
            with self.fabric.autocast():
                logits = self.average.module(frames)
            found.append(soft_dice_agreement(torch.sigmoid(logits.float()), batch.probs))
        return float(torch.cat(found).mean())

    def keep(self, row: EpochRow) -> None:
        """Log the epoch, remember the student if it is the best so far, and write the checkpoint."""
        self.history.append(row)
        best = self.best["agreement"]
        if row.agreement is None or best is None or row.agreement > best:
            state = {name: tensor.cpu().clone() for name, tensor in self.average.module.state_dict().items()}
            self.best = {"epoch": row.epoch, "agreement": row.agreement, "state": state}
        checkpoint = {
            "epoch": row.epoch,
            "model": self.raw.state_dict(),
            "average": self.average.module.state_dict(),
            "average_steps": self.average.steps,
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "rng": torch.get_rng_state(),
            "history": [dataclasses.asdict(row) for row in self.history.rows],
        }
        with atomic_path(self.out / LAST_CKPT) as temporary:
            torch.save(checkpoint, temporary)

    def resume(self) -> int:
        """Load the checkpoint in `out`, if there is one. Returns the number of epochs that are done."""
        path = self.out / LAST_CKPT
        if not path.exists():
            return 0
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            self.raw.load_state_dict(checkpoint["model"])
            self.average.module.load_state_dict(checkpoint["average"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
        except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path} does not fit this training; delete it to start again ({reason})") from error
        self.average.steps = checkpoint["average_steps"]
        self.best = checkpoint["best"]
        torch.set_rng_state(checkpoint["rng"])
        self.history.close()
        self.history = History(self.out, [EpochRow(**row) for row in checkpoint["history"]])
        return int(checkpoint["epoch"])

    def result(self) -> Trained:
        student = copy.deepcopy(self.average.module).cpu()
        student.load_state_dict(self.best["state"])
        return Trained(student, self.best["epoch"], self.best["agreement"], len(self.history.rows))


def cosine_lr(step: int, total_steps: int, peak: float, warmup_share: float) -> float:
    """Step size at `step` of `total_steps`: a linear rise over the warm-up's share, then half a cosine down to 1 %."""
    warmup = max(1, round(total_steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, total_steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def _build_optimizer(model: nn.Module, settings: DistillConfig) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=settings.lr)
    # Norms and biases are not decayed: they are scales and offsets, not directions.
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.lr)


@torch.no_grad()
def _build_adapters(student: StudentNetwork, train: PackedCases) -> FeatureAdapters:
    student.eval()
    maps = student.features(torch.zeros(1, 3, train.image_size, train.image_size))
    shapes = [(int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in maps]
    return FeatureAdapters(shapes, train.feature_shapes)
