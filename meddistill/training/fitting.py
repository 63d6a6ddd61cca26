"""From packed cases to a saved student: what `distill` and the mask-trained twin have in common."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import torch
from lightning_fabric import Fabric

from meddistill.base.console import say, warn
from meddistill.base.errors import ConfigError, first_line
from meddistill.base.files import read_json
from meddistill.data.frames import Preprocessing
from meddistill.data.intensity import settings_of_prepare
from meddistill.data.preprocessing import AXIAL
from meddistill.run.grid_file import read_grid
from meddistill.run.layout import (
    CONFIG_JSON,
    METRICS_CSV,
    MODEL_SAFETENSORS,
    PREPROCESSING_JSON,
    RUN_JSON,
)
from meddistill.settings.distill import DistillConfig
from meddistill.student.networks.student_network import StudentNetwork
from meddistill.student.student import Student, build_student, save_student
from meddistill.training.loop import Trained, start_from_share, train_student
from meddistill.training.packed_cases import PackedCases, TrainingData
from meddistill.training.selection import choose_thresholds


@dataclasses.dataclass(frozen=True)
class Learned:
    """A student that was trained and saved. `agreement`: see `Trained`."""

    student: Student
    best_epoch: int
    epochs: int
    agreement: float | None
    parameters: int


def build_and_train(
    config: DistillConfig,
    data: TrainingData,
    *,
    fabric: Fabric,
    out: Path,
    seed: int,
    start: Learned | None = None,
    prepared: Preprocessing | None = None,
) -> Learned:
    """Build the student (or go on with that of an earlier round, `start`), train it and save it in
    `out`.

    Raises: as `train_student` and `build_student`.

    Args:
        config: network and training.
        data: what it learns from, and what its epoch is chosen by.
        fabric: where it is trained.
        out: the student's directory; training resumes from what it holds.
        seed: of network and training.
        start: the student of an earlier round.
        prepared: how the images that it learns from were made of files; stored for those that it
            will be given.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    if start is None:
        module = _built(config, len(data.findings))
        start_from_share(module, *data.train.foreground_shares())
        if config.encoder_weights in ("none", "") and "encoder_name" in module.saved_config():
            say(f"encoder '{config.encoder}' starts from random weights, as asked")
    else:
        module = copy.deepcopy(start.student.module).cpu().requires_grad_(True)  # as a new one is
    preprocessing = _preprocessing(config, module, data, prepared or Preprocessing())
    trained = train_student(module, data, preprocessing, config, fabric=fabric, out=out, seed=seed)
    if trained.agreement is None:
        warn(_unchosen(config))
    cuts = _thresholds(config, trained, data.val, preprocessing, fabric)
    preprocessing = dataclasses.replace(
        preprocessing,
        threshold=cuts[0],
        thresholds=() if data.findings.is_one else tuple(cuts),
    )
    if fabric.is_global_zero:
        save_student(out, trained.student, preprocessing)
    parameters = sum(parameter.numel() for parameter in trained.student.parameters())
    student = Student(trained.student, preprocessing, fabric.device)
    return Learned(student, trained.best_epoch, trained.epochs, trained.agreement, parameters)


def check_student(config: DistillConfig, findings: int = 1) -> None:
    """Raise ConfigError or WeightsError where these settings make no student that a training step can
    be taken with: built as for training, then a step's images pass through it without memory or
    numbers. In seconds, before the teacher takes its minutes or hours.
    """
    # ImageNet's are looked for once, where training needs them.
    given = "none" if config.encoder_weights == "imagenet" else config.encoder_weights
    module = _built(dataclasses.replace(config, encoder_weights=given), findings)
    images = max(1, config.batch_size // config.accumulate)
    shape = (images, module.in_channels, config.image_size, config.image_size)
    try:
        module.to("meta").train().forward_with_features(torch.zeros(shape, device="meta"))
    except NotImplementedError:
        return  # an operation that torch cannot go through without numbers
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"distill.student={config.student} with distill.encoder={config.encoder} cannot be trained "
            f"on frames of distill.image_size={config.image_size}, {images} at a time (batch_size / "
            f"accumulate): {first_line(error)}; set one of them otherwise"
        ) from error


def _built(config: DistillConfig, findings: int) -> StudentNetwork:
    return build_student(
        config.student,
        encoder=config.encoder,
        encoder_weights=config.encoder_weights,
        decoder_channels=config.decoder_channels,
        findings=findings,
        in_channels=2 * config.context + 1 if config.context else 3,
    )


def _preprocessing(
    config: DistillConfig, module: StudentNetwork, data: TrainingData, prepared: Preprocessing
) -> Preprocessing:
    mean, std = module.preprocessing_mean_std
    return dataclasses.replace(
        prepared,
        image_size=config.image_size,
        mean=mean,
        std=std,
        findings=data.findings,
        context=config.context,
        tiled=config.tiles == "always",
    )


def _unchosen(config: DistillConfig) -> str:
    if not config.colearning.few_boxes:
        return "no validation case has a target: the last epoch's student is kept, unchosen"
    return (
        "no more than a few validation cases have a target: the last epoch's student is kept, "
        f"after a fixed schedule of {config.colearning.steps} steps, and nothing would show that it was "
        "trained too long, nor another threshold than 0.5"
    )


def preparation_of(data_dir: Path) -> Preprocessing:
    """How the images of prepared data were made of files; the rest is as by default."""
    settings = read_json(data_dir / RUN_JSON).get("settings", {})
    return Preprocessing(
        intensity=settings_of_prepare(settings),
        axis=int(settings.get("axis", AXIAL)),
        grid=read_grid(data_dir),
    )


def stage_outputs(out: Path) -> list[Path]:
    """The files of a student that run.json hashes: weights, settings, log; not checkpoint and
    events."""
    return [
        out / name for name in (CONFIG_JSON, METRICS_CSV, MODEL_SAFETENSORS, PREPROCESSING_JSON)
    ]


LEAST_TO_CHOOSE = 10
"""Validation cases with a target from which they choose the threshold where few are boxed: by five of
them brain slices won .005 on average, and lost .075 in one of ten tries."""


def _thresholds(
    config: DistillConfig,
    trained: Trained,
    val: PackedCases,
    preprocessing: Preprocessing,
    fabric: Fabric,
) -> list[float]:
    if config.threshold is not None:
        return [config.threshold] * val.findings
    if config.colearning.few_boxes and len(val) < LEAST_TO_CHOOSE:
        return [0.5] * val.findings
    found = choose_thresholds(trained.student.to(fabric.device), val, preprocessing, fabric)
    told = ", ".join(str(threshold) for threshold in found)
    say(f"threshold {told} agrees best with the teacher on the validation cases")
    return found
