"""`meddistill distill`: the teacher makes soft masks once (RUN/teacher), the student learns them
(RUN/student).

No mask is read here, and nothing that is imported here can read one.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lightning_fabric import Fabric

from meddistill.base.console import say, summary
from meddistill.base.csv_tables import read_table, text_of_row, write_table
from meddistill.base.errors import ConfigError, StageError, nearest
from meddistill.colearning.rounds import refresh_targets
from meddistill.run.headlines import headline
from meddistill.run.labels import annotated_boxes
from meddistill.run.layout import BOXES_CSV, MODEL_CARD, QUALITY_CSV, RUN_JSON, RunDir
from meddistill.run.next_commands import after_distill
from meddistill.run.record import Stage, as_begun, fingerprint_file, fingerprint_stage
from meddistill.run.tables import Case, QualityRow, boxes_xyxy, read_boxes, read_cases
from meddistill.settings import identity
from meddistill.settings.distill import DistillConfig
from meddistill.student.card import write_model_card
from meddistill.targets.feature_basis import fit_basis
from meddistill.targets.making import TargetRequest, make_targets
from meddistill.targets.packing import pack_targets
from meddistill.targets.prompts import (
    ANNOTATED,
    NOTHING,
    UNSEEN,
    Prompt,
    cases_needing_detector,
    choose_prompts,
)
from meddistill.teachers.loading import load_teacher
from meddistill.teachers.teacher import Teacher
from meddistill.training.fabric import make_fabric, precision_of
from meddistill.training.fitting import build_and_train, intensity_of, stage_outputs
from meddistill.training.packed_cases import PackedCases

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

    `teacher`: one to use instead of loading `config.teacher` by name. `overwrite` replaces the
    student; targets are keyed by what they depend on and are reused either way. Raises: StageError
    naming the command that makes what is missing.
    """
    data_dir, student_dir = data or run.data, out or run.student
    config = as_begun(student_dir, config, overwrite)
    cases = read_cases(data_dir)
    boxes_file = _find_boxes(run, config, cases)
    fabric = make_fabric(device, config.precision)
    prompts, skipped = _choose_prompts(data_dir, cases, boxes_file, config)
    if skipped:
        say(f"{len(skipped)} training or validation case(s) without any box are left out")
    if config.rounds > 1:
        # The teacher looks at them now, for their features; a later round may find them a box.
        prompts += [Prompt(case, NOTHING, UNSEEN) for case in skipped if case.split == "train"]
    quality = _make_targets(run, config, data_dir, boxes_file, prompts, fabric, teacher)

    inputs = {"data": fingerprint_stage(data_dir), "targets": _fingerprint_targets(quality)}
    settings = identity.of_distill(config, seed)
    with fabric.rank_zero_first():
        stage = Stage.open(
            student_dir, "distill", settings, inputs, overwrite and fabric.is_global_zero
        )
    if stage.finished:
        say(f"{student_dir} is already made with these settings")
        if fabric.is_global_zero and not (student_dir / MODEL_CARD).exists():
            write_model_card(
                student_dir, data_dir
            )  # killed after run.json, which the card tells of
        return student_dir
    make = functools.partial(
        build_and_train, config, fabric=fabric, seed=seed, intensity=intensity_of(data_dir)
    )
    pack = functools.partial(_pack, run, config, data_dir, cases, prompts, quality)
    scratch, rounds_dir = student_dir / f"packed-{fabric.global_rank}", student_dir / "rounds"
    train, val = (pack(quality, split, scratch / split) for split in ("train", "val"))
    student = None
    for number in range(1, config.rounds):
        student = make(train, val, out=rounds_dir / f"student-{number}", start=student)
        table = rounds_dir / f"quality-{number + 1}.csv"
        if fabric.is_global_zero and not table.exists():
            teacher = teacher or _load_teacher(config, fabric)
            rows = refresh_targets(
                teacher,
                student.student,
                cases,
                prompts,
                quality,
                data_dir,
                run.teacher,
                rounds_dir,
                config,
                batch_size=_TEACHER_BATCH,
            )
            write_table(table, QualityRow, rows)
        fabric.barrier()
        quality = read_table(table, QualityRow)
        train = pack(quality, "train", scratch / "train", rounds_dir)
    student = make(train, val, out=student_dir, start=student)
    shutil.rmtree(scratch, ignore_errors=True)
    learned = set(train.case_ids)
    results = {
        "best_epoch": student.best_epoch,
        "epochs": student.epochs,
        "agreement": student.agreement,
        "parameters": student.parameters,
        "precision": precision_of(fabric),
        "train_cases": len(train),
        "val_cases": len(val),
        "cases_without_box": len(skipped),
        "targets_rejected": sum(row.split != "test" for row in quality) - len(train) - len(val),
        "prompt_sources": dict(
            Counter(row.prompt_source for row in quality if row.case_id in learned)
        ),
    }
    if fabric.is_global_zero:
        stage.finish(results, stage_outputs(student_dir), device=str(fabric.device))
        write_model_card(student_dir, data_dir)
    fabric.barrier()
    facts = [
        *headline("distill", results),
        ("student", f"{student_dir}, {student.parameters / 1e6:.2f} M parameters"),
    ]
    summary("distill", facts, after_distill(run, student_dir, data))
    return student_dir


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
    annotated = {
        case.case_id: annotated_boxes(data_dir, case) for case in cases if case.split != "test"
    }
    detected = None
    if boxes_file is not None:
        detected = {
            case_id: boxes_xyxy(rows) for case_id, rows in read_boxes(boxes_file, cases).items()
        }
    if not config.test_targets:
        cases = [case for case in cases if case.split != "test"]
    return choose_prompts(cases, annotated, detected, boxes=config.boxes, no_box=config.no_box)


def _make_targets(
    run: RunDir,
    config: DistillConfig,
    data_dir: Path,
    boxes_file: Path | None,
    prompts: Sequence[Prompt],
    fabric: Fabric,
    teacher: Teacher | None,
) -> list[QualityRow]:
    levels = config.kept_levels
    settings = identity.of_teacher(
        config, config.teacher if teacher is None else teacher.fingerprint
    )
    boxes = fingerprint_file(boxes_file) if boxes_file else "annotated only"
    inputs = {"data": fingerprint_stage(data_dir), "boxes": boxes}
    if Stage.is_finished(run.teacher, "teacher", settings, inputs):
        say(f"{run.teacher} already holds these targets")
        return read_table(run.teacher / QUALITY_CSV, QualityRow)
    # Before anything is touched: a teacher that cannot be had must not cost the targets of the last
    # one.
    if teacher is None:
        teacher = _load_teacher(config, fabric)
    for level in levels:
        if level not in teacher.feature_channels:
            known = nearest(level, teacher.feature_channels)
            raise ConfigError(f"teacher '{teacher.name}' has no features '{level}'{known}")
    with fabric.rank_zero_first():
        stage = Stage.open(run.teacher, "teacher", settings, inputs, refresh=True)
    requests = [
        TargetRequest(
            prompt.case, prompt.boxes_xyxy_px, prompt.source, _frame_size(prompt.case, config)
        )
        for prompt in prompts
    ]
    make = functools.partial(
        make_targets,
        teacher,
        requests,
        data_dir,
        run.teacher,
        config.targets,
        feature_levels=levels,
        seed=config.targets.seed,
        batch_size=_TEACHER_BATCH,
        no_box="empty",
    )
    if fabric.world_size > 1:
        if levels:
            with fabric.rank_zero_first():  # the first fits the basis, the others read it
                fit_basis(
                    teacher,
                    [prompt.case for prompt in prompts],
                    data_dir,
                    run.teacher,
                    levels=levels,
                    budget_bytes=config.targets.feature_bytes,
                    grid=config.targets.feature_grid,
                    seed=config.targets.seed,
                    batch_size=_TEACHER_BATCH,
                )
        make(part=(fabric.global_rank, fabric.world_size))
        fabric.barrier()
    if fabric.is_global_zero:
        quality = make()
        results = {"cases": len(quality), "accepted": sum(row.accepted for row in quality)}
        stage.finish(results, [run.teacher / QUALITY_CSV], device=str(fabric.device))
    fabric.barrier()
    return read_table(run.teacher / QUALITY_CSV, QualityRow)


def _fingerprint_targets(quality: Sequence[QualityRow]) -> str:
    """What the student learns from: unlike run.json of the teacher, not what else was asked of it
    meanwhile."""
    rows = [text_of_row(row) for row in quality if row.split != "test"]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _frame_size(case: Case, config: DistillConfig) -> int:
    # Test targets are a baseline, judged at the image's own size.
    return max(case.width, case.height) if case.split == "test" else config.image_size


def _load_teacher(config: DistillConfig, fabric: Fabric) -> Teacher:
    return load_teacher(
        config.teacher,
        checkpoint=config.teacher_checkpoint,
        device=fabric.device,
        precision=precision_of(fabric),
    )


def _pack(
    run: RunDir,
    config: DistillConfig,
    data_dir: Path,
    cases: Sequence[Case],
    prompts: Sequence[Prompt],
    first_quality: Sequence[QualityRow],
    quality: Sequence[QualityRow],
    split: str,
    scratch: Path,
    rounds_dir: Path | None = None,
) -> PackedCases:
    levels, boxes = [], {}
    if split == "train":
        levels = config.kept_levels
        if config.prior_weight:
            boxes = {
                prompt.case.case_id: prompt.boxes_xyxy_px
                for prompt in prompts
                if prompt.source == ANNOTATED
            }
    return pack_targets(
        [row for row in quality if row.split == split],
        {case.case_id: case for case in cases},
        data_dir,
        run.teacher,
        config.image_size,
        feature_levels=levels,
        prior_boxes=boxes,
        scratch=scratch,
        rounds_dir=rounds_dir,
        feature_keys={row.case_id: row.key for row in first_quality},
    )
