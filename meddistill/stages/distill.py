"""`meddistill distill`: the teacher makes soft masks once (RUN/teacher), the student learns them (RUN/student).

No mask is read here, and nothing that is imported here can read one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric

from meddistill.artifacts import (
    BOXES_CSV,
    METRICS_CSV,
    QUALITY_CSV,
    RUN_JSON,
    UNFINISHED_JSON,
    Case,
    QualityRow,
    RunDir,
    annotated_boxes,
    boxes_xyxy,
    read_boxes,
    read_cases,
    read_table,
)
from meddistill.config import DistillConfig, as_settings
from meddistill.console import say, warn
from meddistill.data.dataset import PackedCases
from meddistill.data.frames import Preprocessing
from meddistill.distillation.engine import make_fabric, precision_of
from meddistill.distillation.packing import pack_targets
from meddistill.distillation.prompts import ANNOTATED, Prompt, cases_needing_detector, choose_prompts
from meddistill.distillation.selection import choose_threshold
from meddistill.distillation.targets import TargetRequest, make_targets
from meddistill.distillation.training import Trained, train_student
from meddistill.errors import ConfigError, StageError, nearest
from meddistill.models.card import write_model_card
from meddistill.models.student import build_student, save_student
from meddistill.models.teachers.base import Teacher
from meddistill.models.teachers.registry import load_teacher
from meddistill.provenance import Stage, fingerprint_file, fingerprint_stage

_TEACHER_BATCH = 4


def run_distill(
    run: RunDir,
    config: DistillConfig,
    *,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    out: Path | None = None,
    data: Path | None = None,
    teacher: Teacher | None = None,
) -> Path:
    """Make the targets and train the student; returns the student's directory.

    `teacher`: one to use instead of loading `config.teacher` by name. `overwrite` replaces the student; targets are
    keyed by what they depend on and are reused either way.
    Raises: StageError naming the command that makes what is missing.
    """
    data_dir = data or run.data
    cases = read_cases(data_dir)
    boxes_file = _find_boxes(run, config, cases)
    fabric = make_fabric(device, config.precision)
    prompts, skipped = _choose_prompts(data_dir, cases, boxes_file, config)
    if skipped:
        say(f"{len(skipped)} training or validation case(s) without any box are left out")
    quality = _make_targets(run, config, data_dir, boxes_file, prompts, fabric, teacher)

    student_dir = out or run.student
    inputs = {"data": fingerprint_stage(data_dir), "targets": _fingerprint_targets(quality)}
    settings = {"seed": seed, **as_settings(config)}
    del settings["test_targets"]  # eval's baseline is not the student's business
    with fabric.rank_zero_first():
        stage = Stage.open(student_dir, "distill", settings, inputs, overwrite and fabric.is_global_zero)
    if stage.finished:
        say(f"{student_dir} is already made with these settings")
        return student_dir
    scratch = student_dir / f"packed-{fabric.global_rank}"
    train, val = (_pack(run, config, data_dir, cases, prompts, quality, split, scratch) for split in ("train", "val"))
    trained, parameters = build_and_train(config, train, val, fabric=fabric, out=student_dir, seed=seed)
    shutil.rmtree(scratch, ignore_errors=True)
    learned = set(train.case_ids)
    results = {
        "best_epoch": trained.best_epoch, "epochs": trained.epochs, "agreement": trained.agreement,
        "parameters": parameters, "precision": precision_of(fabric), "train_cases": len(train), "val_cases": len(val),
        "cases_without_box": len(skipped),
        "targets_rejected": sum(row.split != "test" for row in quality) - len(train) - len(val),
        "prompt_sources": dict(Counter(row.prompt_source for row in quality if row.case_id in learned)),
    }  # fmt: skip
    if fabric.is_global_zero:
        stage.finish(results, stage_outputs(student_dir), device=str(fabric.device))
        write_model_card(student_dir, data_dir)
    fabric.barrier()
    say(f"student of epoch {trained.best_epoch} in {student_dir}; next: meddistill eval {run.root}")
    return student_dir


def build_and_train(
    config: DistillConfig, train: PackedCases, val: PackedCases, *, fabric: Fabric, out: Path, seed: int
) -> tuple[Trained, int]:
    """Build the student, train it and save it in `out`. Returns what training gave and the number of parameters."""
    torch.manual_seed(seed)
    student = build_student(
        config.student,
        encoder=config.encoder,
        encoder_weights=config.encoder_weights,
        decoder_channels=config.decoder_channels,
    )
    mean, std = student.preprocessing_mean_std
    preprocessing = Preprocessing(config.image_size, mean, std)
    trained = train_student(student, train, val, preprocessing, config, fabric=fabric, out=out, seed=seed)
    threshold = config.threshold
    if threshold is None:
        threshold = choose_threshold(trained.student.to(fabric.device), val, preprocessing, fabric)
        say(f"threshold {threshold} agrees best with the teacher on the validation cases")
    preprocessing = dataclasses.replace(preprocessing, threshold=threshold)
    if trained.agreement is None:
        warn("no validation case has a target: the last epoch's student is kept, unchosen")
    if fabric.is_global_zero:
        save_student(out, trained.student, preprocessing)
    return trained, sum(parameter.numel() for parameter in student.parameters())


def stage_outputs(out: Path) -> list[Path]:
    """The files of a student that run.json hashes: weights, settings, log; not checkpoint and events."""
    kept = [path for path in out.iterdir() if path.suffix in (".json", ".safetensors") or path.name == METRICS_CSV]
    return sorted(path for path in kept if path.name not in (RUN_JSON, UNFINISHED_JSON))


def _find_boxes(run: RunDir, config: DistillConfig, cases: Sequence[Case]) -> Path | None:
    """The table of detected boxes, or None where there is no detector and none is needed."""
    if config.boxes_file:
        path = Path(config.boxes_file)
        if not path.is_file():
            raise StageError(f"boxes_file {path} does not exist")
        return path
    if (run.detector / RUN_JSON).exists():
        return run.detector / BOXES_CSV
    lacking = cases_needing_detector(cases, config.boxes)
    if lacking:
        why = f"{len(lacking)} training or validation case(s) have no annotated boxes (first: {lacking[0].case_id})"
        why = why if config.boxes == "annotated" else f"distill.boxes is '{config.boxes}'"
        raise StageError(f"{why}; run `meddistill detect {run.root}` first, or give --boxes FILE")
    return None


def _choose_prompts(
    data_dir: Path, cases: Sequence[Case], boxes_file: Path | None, config: DistillConfig
) -> tuple[list[Prompt], list[Case]]:
    annotated = {case.case_id: annotated_boxes(data_dir, case) for case in cases if case.split != "test"}
    detected = None
    if boxes_file is not None:
        detected = {case_id: boxes_xyxy(rows) for case_id, rows in read_boxes(boxes_file, cases).items()}
    if not config.test_targets:
        cases = [case for case in cases if case.split != "test"]
    return choose_prompts(cases, annotated, detected, boxes=config.boxes, no_box=config.no_box)


def _make_targets(
    run: RunDir, config: DistillConfig, data_dir: Path, boxes_file: Path | None, prompts: Sequence[Prompt],
    fabric: Fabric, teacher: Teacher | None,
) -> list[QualityRow]:  # fmt: skip
    levels = _levels(config)
    settings = {
        "teacher": config.teacher if teacher is None else teacher.fingerprint,
        "teacher_checkpoint": config.teacher_checkpoint, "boxes": config.boxes, "no_box": config.no_box,
        "image_size": config.image_size, "feature_levels": levels, "targets": as_settings(config.targets),
        "test_targets": config.test_targets,
    }  # fmt: skip
    boxes = fingerprint_file(boxes_file) if boxes_file else "annotated only"
    inputs = {"data": fingerprint_stage(data_dir), "boxes": boxes}
    with fabric.rank_zero_first():
        stage = Stage.open(run.teacher, "teacher", settings, inputs, refresh=True)
    if stage.finished:
        say(f"{run.teacher} already holds these targets")
        return read_table(run.teacher / QUALITY_CSV, QualityRow)
    if teacher is None:
        teacher = load_teacher(config.teacher, checkpoint=config.teacher_checkpoint, device=fabric.device)
    for level in levels:
        if level not in teacher.feature_channels:
            known = nearest(level, teacher.feature_channels)
            raise ConfigError(f"teacher '{teacher.name}' has no features '{level}'{known}")
    requests = [
        TargetRequest(prompt.case, prompt.boxes_xyxy_px, prompt.source, _frame_size(prompt.case, config))
        for prompt in prompts
    ]
    make = functools.partial(
        make_targets, teacher, requests, data_dir, run.teacher, config.targets, feature_levels=levels,
        seed=config.targets.seed, batch_size=_TEACHER_BATCH, no_box="empty",
    )  # fmt: skip
    if fabric.world_size > 1:
        make(part=(fabric.global_rank, fabric.world_size))
        fabric.barrier()
    if fabric.is_global_zero:
        quality = make()
        results = {"cases": len(quality), "accepted": sum(row.accepted for row in quality)}
        stage.finish(results, [run.teacher / QUALITY_CSV], device=str(fabric.device))
    fabric.barrier()
    return read_table(run.teacher / QUALITY_CSV, QualityRow)


def _fingerprint_targets(quality: Sequence[QualityRow]) -> str:
    """What the student learns from: unlike run.json of the teacher, not what else was asked of it meanwhile."""
    rows = [repr(row) for row in quality if row.split != "test"]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _frame_size(case: Case, config: DistillConfig) -> int:
    # Test targets are a baseline, judged at the image's own size.
    return max(case.width, case.height) if case.split == "test" else config.image_size


def _levels(config: DistillConfig) -> list[str]:
    return list(config.feature_levels) if config.feature_weight and config.feature_share else []


def _pack(
    run: RunDir, config: DistillConfig, data_dir: Path, cases: Sequence[Case], prompts: Sequence[Prompt],
    quality: Sequence[QualityRow], split: str, scratch: Path,
) -> PackedCases:  # fmt: skip
    levels, boxes = [], {}
    if split == "train":
        levels = _levels(config)
        if config.prior_weight:
            boxes = {prompt.case.case_id: prompt.boxes_xyxy_px for prompt in prompts if prompt.source == ANNOTATED}
    return pack_targets(
        [row for row in quality if row.split == split], {case.case_id: case for case in cases}, data_dir, run.teacher,
        config.image_size, feature_levels=levels, prior_boxes=boxes, scratch=scratch / split,
    )  # fmt: skip
