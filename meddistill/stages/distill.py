"""`meddistill distill`: the teacher makes soft masks once (RUN/teacher), the student learns them
(RUN/student).

No mask is read here, and nothing that is imported here can read one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meddistill.base.console import say, summary
from meddistill.base.errors import ConfigError
from meddistill.colearning.belief_files import load_beliefs
from meddistill.colearning.beliefs import count_sources
from meddistill.colearning.deciding import with_unboxed_decided
from meddistill.colearning.distillation import Distillation, Learning, learn
from meddistill.colearning.questions import (
    as_results,
    load_questioned,
    more_boxes,
)
from meddistill.colearning.run_prompts import find_boxes, prompts_of_run
from meddistill.colearning.teacher_pass import make_targets
from meddistill.run.dataset import Dataset
from meddistill.run.fingerprints import fingerprint_stage, looked_at_once
from meddistill.run.headlines import headline
from meddistill.run.layout import MODEL_CARD, RunDir
from meddistill.run.next_commands import after_distill
from meddistill.run.record import Stage, as_begun
from meddistill.run.tables import QualityRow, fingerprint_targets
from meddistill.run.volumes import stacks
from meddistill.settings import identity
from meddistill.settings.distill import DistillConfig
from meddistill.student.card import write_model_card
from meddistill.student.trust.trust import save_trust
from meddistill.targets.inherited import inherit
from meddistill.targets.tiling import ALWAYS, with_tiles_decided
from meddistill.teachers.teacher import Teacher
from meddistill.training.fabric import make_fabric, precision_of
from meddistill.training.fitting import check_student, stage_outputs
from meddistill.training.trust_facts import say_facts
from meddistill.training.trusting import fit_trust, own_images
from meddistill.training.warm_start import find_start, fingerprint_start, load_start


@looked_at_once()
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
    boxes_file = find_boxes(run, config, dataset)
    start = find_start(Path(config.warm_start), student_dir) if config.warm_start else None
    work = Distillation(run, dataset, config, make_fabric(device, config.precision), teacher, start)
    _check_student(work, student_dir, seed, overwrite)  # before the teacher's minutes or hours
    _inherit(work)
    prompts, skipped = prompts_of_run(work, boxes_file)
    quality = make_targets(work, prompts, boxes_file)

    stage = _open_stage(work, student_dir, quality, seed, overwrite)
    if stage.finished:
        return _already_made(work, student_dir)
    learning = learn(work, prompts, quality, student_dir, seed)
    taught = set(learning.data.train.case_ids)
    left_out = [] if work.colearns else [case for case in skipped if case.case_id not in taught]
    results = _results(work, learning, len(left_out))
    if work.colearns:
        results["believed"] = count_sources(load_beliefs(student_dir))
        questioned = load_questioned(student_dir)
        results["more_boxes"] = as_results(questioned, more_boxes(questioned))
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


def _check_student(work: Distillation, student_dir: Path, seed: int, overwrite: bool) -> None:
    """Raise StageError where another student is there, and is to stay, by all but the targets; else as
    `check_student`, where none is given to start from."""
    if not overwrite:
        inputs = {**_inputs(work), "targets": None}
        Stage.refuse_other(student_dir, "distill", identity.of_distill(work.config, seed), inputs)
    if work.start is None:
        check_student(work.config, len(work.findings))


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
    inputs = {**_inputs(work), "targets": fingerprint_targets(quality)}
    settings = identity.of_distill(work.config, seed)
    overwrite = overwrite and work.fabric.is_global_zero
    with work.fabric.rank_zero_first():
        return Stage.open(student_dir, "distill", settings, inputs, overwrite)


def _inputs(work: Distillation) -> dict[str, str]:
    """What the student is made from, but for the targets."""
    inputs = {"data": fingerprint_stage(work.dataset.directory)}
    if work.start is not None:
        inputs["start"] = fingerprint_start(work.start)
    return inputs


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
