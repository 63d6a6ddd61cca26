"""`meddistill distill`: the teacher makes soft masks once (RUN/teacher), the student learns them
(RUN/student).

No mask is read here, and nothing that is imported here can read one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meddistill.base.console import say, summary, warn
from meddistill.base.csv_tables import read_table, text_of_row, write_table
from meddistill.base.errors import ConfigError, StageError, nearest
from meddistill.colearning.belief_files import load_beliefs
from meddistill.colearning.beliefs import count_sources
from meddistill.colearning.carrying import Carrying, carry
from meddistill.colearning.distillation import Distillation, Learning, learn
from meddistill.colearning.joining import with_unboxed_decided
from meddistill.colearning.questions import (
    as_results,
    load_questioned,
    more_boxes,
)
from meddistill.run.dataset import Dataset
from meddistill.run.headlines import headline
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import BOXES_CSV, MODEL_CARD, QUALITY_CSV, RUN_JSON, RunDir
from meddistill.run.next_commands import after_distill
from meddistill.run.record import Stage, as_begun, fingerprint_file, fingerprint_stage
from meddistill.run.tables import Case, QualityRow, boxes_xyxy, read_boxes
from meddistill.run.volumes import drawn_for_training, stacks
from meddistill.settings import identity
from meddistill.settings.distill import DistillConfig
from meddistill.student.card import write_model_card
from meddistill.student.trust.trust import save_trust
from meddistill.targets.inherited import inherit
from meddistill.targets.making import TargetMaker
from meddistill.targets.prompts import (
    NOTHING,
    UNSEEN,
    Prompt,
    cases_needing_detector,
    choose_prompts,
)
from meddistill.targets.requests import TargetRequest
from meddistill.targets.tiling import ALWAYS, with_tiles_decided
from meddistill.teachers.teacher import Teacher
from meddistill.training.fabric import make_fabric, precision_of
from meddistill.training.fitting import stage_outputs
from meddistill.training.trusting import fit_trust, own_images, say_facts
from meddistill.training.warm_start import find_start, fingerprint_start, load_start


def run_distill(
    run: RunDir,
    config: DistillConfig,
    *,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    out: Path | None = None,
    teacher: Teacher | None = None,
) -> Path:
    """Make the targets and train the student; returns the student's directory.

    Raises: StageError naming the command that makes what is missing.

    Args:
        run: where the prepared data lie, and where targets and student go.
        config: of targets and student.
        seed: of the student.
        device: of teacher and student.
        overwrite: replace the student; targets are keyed by what they depend on and are reused
            either way.
        out: where the student goes instead of RUN/student.
        teacher: one to use instead of loading `config.teacher` by name.
    """
    student_dir = out or run.student
    dataset = Dataset.open(run.data)
    config = with_unboxed_decided(as_begun(student_dir, config, overwrite), dataset)
    _check_context(config, dataset)
    config = with_tiles_decided(config, dataset)
    boxes_file = _find_boxes(run, config, dataset)
    start = find_start(Path(config.warm_start), student_dir) if config.warm_start else None
    work = Distillation(run, dataset, config, make_fabric(device, config.precision), teacher, start)
    _inherit(work)
    prompts, skipped = _choose_prompts(work, boxes_file)
    quality = _make_targets(work, prompts, boxes_file)

    stage = _open_stage(work, student_dir, quality, seed, overwrite)
    if stage.finished:
        return _already_made(work, student_dir)
    learning = learn(work, prompts, quality, student_dir, seed)
    results = _results(work, learning, 0 if work.colearns else len(skipped))
    if work.colearns:
        believed = count_sources(load_beliefs(student_dir))
        questioned = load_questioned(student_dir)
        told = more_boxes(questioned)
        results |= {"believed": believed, "more_boxes": as_results(questioned, told)}
    if work.fabric.is_global_zero:
        _let_it_know_itself(work, learning, student_dir)
        stage.finish(results, stage_outputs(student_dir), device=str(work.fabric.device))
        write_model_card(student_dir, run.data)
    work.fabric.barrier()
    million = learning.student.parameters / 1e6
    facts = [
        *headline("distill", results),
        ("student", f"{student_dir}, {million:.2f} M parameters"),
    ]
    summary("distill", facts, after_distill(run, student_dir, run.other_data))
    return student_dir


def _check_context(config: DistillConfig, dataset: Dataset) -> None:
    if config.context and not stacks(dataset.of_split("train")):
        raise ConfigError(
            f"distill.context={config.context} needs slices of volumes, and no training case of "
            f"{dataset.directory} has a volume and a slice in cases.csv"
        )


def _let_it_know_itself(work: Distillation, learning: Learning, student_dir: Path) -> None:
    """Fit what the student may say of its own answers, as `calibrate` does again."""
    if work.config.tiles == ALWAYS:
        return  # what one tile says of itself is nothing that an image says
    data = learning.data
    own = own_images(work.dataset, data.train.case_ids, work.config.context)
    trust = fit_trust(learning.student.student, work.dataset, own, data.val)
    save_trust(student_dir, trust)
    say_facts(trust)


def _find_boxes(run: RunDir, config: DistillConfig, dataset: Dataset) -> Path | None:
    """The table of detected boxes, or None where there is no detector and none is needed."""
    if config.boxes_file:
        path = Path(config.boxes_file)
        if not path.is_file():
            raise StageError(f"boxes_file {path} does not exist")
        return path
    if (run.detector / RUN_JSON).exists():
        return run.detector / BOXES_CSV
    lacking = cases_needing_detector(dataset.cases, config.boxes)
    if lacking and not config.colearning.without_detector:
        why = f"{len(lacking)} training or validation case(s) have no annotated boxes (first: {lacking[0].case_id})"
        why = why if config.boxes == "annotated" else f"distill.boxes is '{config.boxes}'"
        raise StageError(f"{why}; run `meddistill detect {run.root}` first, or give --boxes FILE")
    return None


def _choose_prompts(work: Distillation, boxes_file: Path | None) -> tuple[list[Prompt], list[Case]]:
    """The prompts, and the cases left out because nobody gave them a box."""
    findings = work.findings
    training, empty = work.dataset.of_split("train"), work.config.empty_slices
    if left := len(training) - len(drawn_for_training(training, empty)):
        say(
            f"{left} of {len(training)} training slices show no finding and are not drawn for "
            f"training (distill.empty_slices={empty:g})"
        )
    prompts: list[Prompt] = []
    without: dict[str, int] = {}
    for place, name in enumerate(findings.names):
        found, skipped = _prompts_of(work, boxes_file, place)
        prompts += [dataclasses.replace(each, finding=findings.tag(place)) for each in found]
        for case in skipped:
            without[case.case_id] = without.get(case.case_id, 0) + 1
        if not findings.is_one and not any(len(each.boxes_xyxy_px) for each in found):
            warn(f"finding '{name}' has no box to prompt the teacher with: it cannot be learnt")
    order = {case.case_id: index for index, case in enumerate(work.dataset.cases)}
    prompts.sort(key=lambda prompt: order[prompt.case.case_id])  # those of one case together
    alone = {case_id for case_id, count in without.items() if count == len(findings)}
    skipped = [case for case in work.dataset.cases if case.case_id in alone]
    if skipped and not work.colearns and not work.config.colearning.carries:
        say(f"{len(skipped)} training or validation case(s) without any box are left out")
    if work.config.rounds > 1:
        # The teacher looks at them now, for their features; a later round may find them a box.
        prompts += [Prompt(case, NOTHING, UNSEEN) for case in skipped if case.split == "train"]
    return prompts, skipped


def _prompts_of(
    work: Distillation, boxes_file: Path | None, place: int
) -> tuple[list[Prompt], list[Case]]:
    """The prompts of one finding, and the cases in which nobody gave it a box."""
    config, dataset, findings = work.config, work.dataset, work.findings
    name = findings.names[place]
    annotated, seen = {}, {}
    for case in dataset.cases:
        boxes, which = annotated_findings(dataset.directory, case)
        own = boxes if findings.is_one else boxes[which == place]
        if case.split != "test":
            annotated[case.case_id] = own
        seen[case.case_id] = case if findings.is_one else case.of_finding(name, len(own))
    detected = None
    if boxes_file is not None:
        rows = read_boxes(boxes_file, dataset.cases)
        detected = {
            case_id: boxes_xyxy([row for row in found if findings.is_one or row.class_name == name])
            for case_id, found in rows.items()
        }
    if config.colearning.without_detector and detected is not None:
        # The baseline's alone: unboxed images are answered by what co-learning proposes.
        tested = {case.case_id for case in dataset.of_split("test")}
        detected = {case_id: boxes for case_id, boxes in detected.items() if case_id in tested}
    cases = drawn_for_training(dataset.cases, config.empty_slices)
    if not config.test_targets:
        cases = [case for case in cases if case.split != "test"]
    return choose_prompts(
        [seen[case.case_id] for case in cases],
        annotated,
        detected,
        boxes=config.boxes,
        no_box=config.no_box,
    )


def _inherit(work: Distillation) -> None:
    """Take over what the teacher of the student to go on from was asked in its own RUN."""
    if work.start is None:
        return
    load_start(
        work.start, work.config, work.findings
    )  # what does not fit is said before anything is made
    if work.fabric.is_global_zero:
        ids = {case.case_id for case in work.dataset.cases}
        taken = inherit(RunDir(work.start.parent).teacher, work.run.teacher, ids)
        files = f"; {taken} files of its teacher are taken over" if taken else ""
        say(f"training goes on from {work.start}{files}")
    work.fabric.barrier()


def _make_targets(
    work: Distillation, prompts: Sequence[Prompt], boxes_file: Path | None
) -> list[QualityRow]:
    """Fill RUN/teacher, each rank its share; returns the rows of its quality.csv."""
    out, fabric = work.run.teacher, work.fabric
    settings = identity.of_teacher(work.config, work.teacher_name)
    boxes = fingerprint_file(boxes_file) if boxes_file else "annotated only"
    inputs = {"data": fingerprint_stage(work.dataset.directory), "boxes": boxes}
    if Stage.is_finished(out, "teacher", settings, inputs):
        say(f"{out} already holds these targets")
        return read_table(out / QUALITY_CSV, QualityRow)
    # Before anything is touched: a teacher that cannot be had must not cost the targets of the last
    # one.
    _check_levels(work.teacher, work.config.kept_levels)
    with fabric.rank_zero_first():
        stage = Stage.open(out, "teacher", settings, inputs, refresh=True)
    maker = work.maker(out)
    requests = [
        TargetRequest(
            prompt.case,
            prompt.boxes_xyxy_px,
            prompt.source,
            _frame_size(prompt.case, work.config),
            finding=prompt.finding,
        )
        for prompt in prompts
    ]
    make = functools.partial(
        maker.make, requests, feature_levels=work.config.kept_levels, no_box="empty"
    )
    if fabric.world_size > 1:
        if work.config.kept_levels:
            with fabric.rank_zero_first():  # the first fits the basis, the others read it
                maker.fit_basis([prompt.case for prompt in prompts], work.config.kept_levels)
        make(part=(fabric.global_rank, fabric.world_size))
        fabric.barrier()
    if fabric.is_global_zero:
        quality = make()
        if work.config.colearning.carries:
            quality += _carried(work, maker, quality)
            write_table(out / QUALITY_CSV, QualityRow, quality)
        results = {"cases": len(quality), "accepted": sum(row.accepted for row in quality)}
        stage.finish(results, [out / QUALITY_CSV], device=str(fabric.device))
    fabric.barrier()
    return read_table(out / QUALITY_CSV, QualityRow)


def _carried(
    work: Distillation, maker: TargetMaker, quality: Sequence[QualityRow]
) -> list[QualityRow]:
    """Rows of the slices to which boxes were carried, finding by finding."""
    config, dataset, findings = work.config, work.dataset, work.findings
    training = dataset.of_split("train")
    drawn = {case.case_id: annotated_findings(dataset.directory, case) for case in training}
    rows: list[QualityRow] = []
    for place, name in enumerate(findings.names):
        boxes = {
            case_id: found if findings.is_one else found[which == place]
            for case_id, (found, which) in drawn.items()
        }
        seen = {
            case.case_id: case
            if findings.is_one
            else case.of_finding(name, len(boxes[case.case_id]))
            for case in training
        }
        carrying = Carrying(
            maker,
            known={case_id: case.annotation != "unknown" for case_id, case in seen.items()},
            boxes={case_id: found for case_id, found in boxes.items() if len(found)},
            finding=findings.tag(place),
            frame_size=config.image_size,
            empty_share=config.empty_slices,
            levels=config.kept_levels,
        )
        rows += carry(carrying, dataset.cases, quality)
    return rows


def _check_levels(teacher: Teacher, levels: Sequence[str]) -> None:
    for level in levels:
        if level not in teacher.feature_channels:
            known = nearest(level, teacher.feature_channels)
            raise ConfigError(f"teacher '{teacher.name}' has no features '{level}'{known}")


def _frame_size(case: Case, config: DistillConfig) -> int:
    # Test targets are a baseline, judged at the image's own size.
    own_size = case.split == "test" or config.tiles == ALWAYS
    return max(case.width, case.height) if own_size else config.image_size


def _open_stage(
    work: Distillation,
    student_dir: Path,
    quality: Sequence[QualityRow],
    seed: int,
    overwrite: bool,
) -> Stage:
    """Look at the student's directory. Raises: as `Stage.open`.

    Args:
        work: what is distilled.
        student_dir: where the student goes.
        quality: the rows of quality.csv that it learns from.
        seed: of the student.
        overwrite: replace what is there.
    """
    inputs = {
        "data": fingerprint_stage(work.dataset.directory),
        "targets": _fingerprint_targets(quality),
    }
    if work.start is not None:
        inputs["start"] = fingerprint_start(work.start)
    settings = identity.of_distill(work.config, seed)
    overwrite = overwrite and work.fabric.is_global_zero
    with work.fabric.rank_zero_first():
        return Stage.open(student_dir, "distill", settings, inputs, overwrite)


def _fingerprint_targets(quality: Sequence[QualityRow]) -> str:
    """What the student learns from: unlike run.json of the teacher, not what else was asked of it
    meanwhile."""
    rows = [text_of_row(row) for row in quality if row.split != "test"]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _already_made(work: Distillation, student_dir: Path) -> Path:
    say(f"{student_dir} is already made with these settings")
    if work.fabric.is_global_zero and not (student_dir / MODEL_CARD).exists():
        # Killed after run.json, which the card tells of.
        write_model_card(student_dir, work.dataset.directory)
    return student_dir


def _results(work: Distillation, learning: Learning, without_box: int) -> dict[str, Any]:
    """What run.json says of the student."""
    student, data, quality = learning.student, learning.data, learning.quality
    learned = set(data.train.case_ids)  # of tiles a case stands once
    boxed, val = set(data.train.case_ids[: data.train.boxed]), set(data.val.case_ids)
    wanted = len({row.case_id for row in quality if row.split != "test"})
    return {
        "best_epoch": student.best_epoch,
        "epochs": student.epochs,
        "agreement": student.agreement,
        "parameters": student.parameters,
        "precision": precision_of(work.fabric),
        "train_cases": len(learned),
        "val_cases": len(val),
        "cases_without_box": without_box,
        "targets_rejected": wanted - len(boxed) - len(val),
        "prompt_sources": dict(
            Counter(row.prompt_source for row in quality if row.case_id in learned)
        ),
    }
