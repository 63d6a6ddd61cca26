"""`meddistill eval`: the student and its baselines against the true masks, in numbers, pictures and
a page."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddistill.base import console
from meddistill.base.csv_tables import write_table
from meddistill.base.errors import InputError
from meddistill.base.files import write_json
from meddistill.data.findings import LESION
from meddistill.evaluation.answers import Methods
from meddistill.evaluation.audited import audit_warnings, with_audit
from meddistill.evaluation.baselines import (
    OTHER,
    STUDENT,
    TEACHER_BY_STUDENT,
    Baselines,
    find_baselines,
    wants_no_detector,
)
from meddistill.evaluation.box_scores import BoxScoreRow, format_box_table
from meddistill.evaluation.case_pictures import draw_case, gallery
from meddistill.evaluation.foreign import ForeignFolder, foreign_folders, not_judged
from meddistill.evaluation.judged_cases import JudgedCases, judged_cases_of_run
from meddistill.evaluation.judged_folders import judged_cases_of_folders
from meddistill.evaluation.other_masks import add_other_masks, refuse_to_write_over
from meddistill.evaluation.report.gallery import GalleryItem
from meddistill.evaluation.report.page import write_report
from meddistill.evaluation.report.training_curves import History, read_history
from meddistill.evaluation.request import EvalRequest, FolderRequest
from meddistill.evaluation.scores import Judging, ScoreRow
from meddistill.evaluation.text_tables import format_of_itself, format_table
from meddistill.evaluation.verdict import Verdict
from meddistill.evaluation.volume_judge import VolumeJudge, format_volumes
from meddistill.labelling.takeover import settled_masks
from meddistill.run.audits import may_audit
from meddistill.run.fingerprints import (
    fingerprint_student,
    fingerprint_trust,
    is_of_other_data,
    looked_at_once,
)
from meddistill.run.headlines import headline
from meddistill.run.layout import (
    HEADS_NPZ,
    MODEL_CARD,
    PER_CASE_BOXES_CSV,
    PER_CASE_CSV,
    PER_VOLUME_CSV,
    REPORT_HTML,
    RUN_JSON,
    SUMMARY_JSON,
    RunDir,
    require,
)
from meddistill.run.next_commands import after_eval, to_audit
from meddistill.run.record import Stage, as_begun
from meddistill.run.tables import read_cases
from meddistill.settings import identity
from meddistill.settings.evaluate import EvalConfig
from meddistill.student.card import evaluation_of, renew_model_card
from meddistill.student.predictor import Predictor

if TYPE_CHECKING:
    from meddistill.teachers.teacher import Teacher

UNKNOWN_GROUPS = (
    "groups are unknown: slices of one patient may lie on both sides of the split and count as "
    "independent, so the "
    "numbers may be optimistic and their intervals too narrow"
)
_OF_THE_RUN = EvalRequest()


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """What is evaluated: cases, methods, and what was recorded while they were trained; whatever
    the cases come from. `inputs`: fingerprints by name, for run.json. `to_audit`: the RUN in which
    `label --audit` settles masks of these cases, None where it cannot. `outdated`: a line where stages
    of the RUN were made from other data."""

    judged: JudgedCases
    student_dir: Path
    history: History
    baselines: Baselines = dataclasses.field(default_factory=Baselines)
    foreign: Sequence[ForeignFolder] = ()
    to_audit: RunDir | None = None
    outdated: Sequence[str] = ()

    @property
    def inputs(self) -> dict[str, str]:
        own = {"student": fingerprint_student(self.student_dir)}
        if trust := fingerprint_trust(self.student_dir):
            own["trust"] = trust
        own |= {f"foreign {folder.name}": folder.fingerprint for folder in self.foreign}
        return {**self.judged.inputs, **own, **self.baselines.inputs}

    @property
    def warnings(self) -> list[str]:
        told = [] if self.judged.groups_known else [UNKNOWN_GROUPS]
        return [*told, *audit_warnings(self.judged), *self.outdated]


@looked_at_once()
def run_eval(
    run: RunDir,
    config: EvalConfig,
    request: EvalRequest = _OF_THE_RUN,
    *,
    seed: int,
    predictor: Predictor | None = None,
    teacher: Teacher | None = None,
) -> Path:
    """Evaluate RUN's student on one split and write RUN/eval; returns that directory.

    Args:
        run: where the stages before it are read.
        config: the settings of `eval`.
        request: what is read in place of RUN's own, where to write, and on which device.
        seed: of the resampled intervals.
        predictor: stands in for the student that would be loaded.
        teacher: stands in for the one that would be loaded.

    Raises: StageError for a RUN that lacks an earlier stage, ConfigError for a split without cases
    or masks of another tool that lie in the directory written, InputError at the end, after all other
    cases are done, where some could not be read.
    """
    data_dir, student_dir = request.data or run.data, request.student or run.student
    out = request.out or run.eval
    if request.other is not None:
        refuse_to_write_over(request.other, out)
    config = as_begun(out, config, request.overwrite)
    cases = read_cases(data_dir)
    judged = judged_cases_of_run(data_dir, cases, config.split)
    judged = with_audit(judged, settled_masks(run.labels, cases), run.labels)
    if request.student is None:
        require(student_dir / RUN_JSON, "distill")
    baselines = Baselines()
    findings = judged.findings or LESION
    if config.baselines:
        baselines = find_baselines(run, cases, config.split, request.boxes, findings)
        if wants_no_detector(run, student_dir, request.boxes):
            baselines.skipped.clear()
        baselines = _with_teacher(run, baselines, judged, config, request, teacher)
    if request.other is not None:
        add_other_masks(
            baselines,
            request.other,
            out,
            [case for case in cases if case.split == config.split],
            findings,
        )
    history = read_history(student_dir, run.detector)
    foreign = foreign_folders(request.foreign)
    own = request.data is None and request.student is None and config.split == "test"
    audited = run if own and may_audit(run) else None
    outdated = [] if request.data is not None else _outdated(run, request)
    evaluation = _Evaluation(judged, student_dir, history, baselines, foreign, audited, outdated)
    stage = _open(evaluation, config, out, seed=seed, overwrite=request.overwrite)
    return _evaluate(
        evaluation, config, stage, seed=seed, device=request.device, predictor=predictor
    )


def _outdated(run: RunDir, request: EvalRequest) -> list[str]:
    """What a reader must know where the data were made again and what is judged on them was not."""
    there = [] if request.student is not None else [run.student]
    there += [run.teacher] if request.boxes is not None else [run.teacher, run.detector]
    older = [
        each.name
        for each in there
        if (each / RUN_JSON).exists() and is_of_other_data(each, run.data)
    ]
    if not older:
        return []
    return [
        f"made from other data than RUN holds now: {', '.join(older)}; cases that are new were not seen "
        "there, and have no target and no box. `meddistill status RUN` says what to make again"
    ]


def _with_teacher(
    run: RunDir,
    baselines: Baselines,
    judged: JudgedCases,
    config: EvalConfig,
    request: EvalRequest,
    teacher: Teacher | None,
) -> Baselines:
    """The baselines, and the teacher prompted by what needs the student, where that is wanted."""
    student_dir = request.student or run.student
    alone = not any(case.mask for case in judged.cases if case.case_id not in judged.audit)
    boxed = alone and any(case.boxes is not None for case in judged.cases)
    few = (student_dir / HEADS_NPZ).exists()
    if config.ask_teacher == "never" or (config.ask_teacher == "auto" and not few and not boxed):
        return baselines
    from meddistill.colearning.prompted import prompted_teacher

    found = prompted_teacher(
        run,
        student_dir,
        request.data or run.data,
        device=request.device,
        download=config.ask_teacher == "always",
        given=teacher,
    )
    if isinstance(found, str):
        skipped = {**baselines.skipped, TEACHER_BY_STUDENT: found}
        return dataclasses.replace(baselines, skipped=skipped)
    inputs = {**baselines.inputs, "prompted teacher": found.teacher.fingerprint}
    return dataclasses.replace(baselines, asked=found, inputs=inputs)


def run_eval_folders(
    request: FolderRequest,
    config: EvalConfig,
    *,
    seed: int,
    predictor: Predictor | None = None,
) -> Path:
    """Evaluate a student on a folder of images and one of masks; files without a partner are named
    and left out.

    Args:
        request: the folders, the student and where the result goes.
        config: settings.
        seed: of the resampled intervals.
        predictor: stands in for the student that would be loaded.
    """
    config = as_begun(request.out, config, request.overwrite)
    judged = judged_cases_of_folders(request.images, request.masks)
    history, foreign = read_history(request.student), foreign_folders(request.foreign)
    evaluation = _Evaluation(judged, request.student, history, foreign=foreign)
    stage = _open(evaluation, config, request.out, seed=seed, overwrite=request.overwrite)
    return _evaluate(
        evaluation, config, stage, seed=seed, device=request.device, predictor=predictor
    )


def _open(
    evaluation: _Evaluation, config: EvalConfig, out: Path, *, seed: int, overwrite: bool
) -> Stage:
    return Stage.open(out, "eval", identity.of_eval(config, seed), evaluation.inputs, overwrite)


def _evaluate(
    evaluation: _Evaluation,
    config: EvalConfig,
    stage: Stage,
    *,
    seed: int,
    device: str,
    predictor: Predictor | None,
) -> Path:
    if stage.finished:
        console.say(f"{stage.out} is up to date: {stage.out / REPORT_HTML}")
        return stage.out
    predictor = predictor or _load(evaluation.student_dir, device)
    judged = evaluation.judged
    methods = Methods.of(predictor, evaluation.baselines, config, judged)
    _say_what_is_missing(evaluation, methods)
    verdict, volumes = _judge(judged, methods, stage.out)
    summary = verdict.summary(judged, methods, evaluation.warnings, seed)
    if whole := volumes.write(seed):
        summary["whole_volumes"] = whole
    if of_itself := verdict.of_itself(predictor, evaluation.foreign):
        summary["of_itself"] = of_itself
    elif evaluation.foreign:
        console.warn(not_judged(predictor, evaluation.student_dir))
    _write(stage.out, summary, verdict, gallery(verdict, methods), evaluation.history)
    if verdict.failures:
        raise InputError(
            f"{len(verdict.failures)} of {len(judged.cases)} cases could not be evaluated, "
            f"{stage.out / REPORT_HTML} shows the others; first: {verdict.failures[0]}"
        )
    _finish(stage, summary, device, evaluation)
    return stage.out


def _say_what_is_missing(evaluation: _Evaluation, methods: Methods) -> None:
    config = methods.config
    for method, reason in evaluation.baselines.skipped.items():
        console.say(f"{evaluation.baselines.labels[method]}: not evaluated, {reason}")
    cases = evaluation.judged.cases
    if not any(case.mask for case in cases):
        boxed = sum(case.boxes is not None for case in cases)
        told = "nothing to evaluate against, only pictures"
        if boxed:
            told = f"the figures are by boxes, those of {boxed} cases"
        console.say(f"no case of '{config.split}' has a true mask: {told}")
    if empty := sum(case.is_empty for case in cases):
        console.say(
            f"{empty} of {len(cases)} cases were said to show nothing: judged as empty masks"
        )
    if methods.unknown:
        console.warn(
            f"the student does not know {', '.join(methods.unknown)}: not judged, for any method"
        )
    if config.flip_average and not methods.mirrors:
        console.say("flip_average is off: a finding's name says a side, which a mirror would swap")
    for warning in evaluation.warnings:
        console.warn(warning)


def _judge(judged: JudgedCases, methods: Methods, out: Path) -> tuple[Verdict, VolumeJudge]:
    """Every case answered, drawn, and scored where there is a true mask; whole volumes, too."""
    config = methods.config
    judging = Judging(config.tolerance_px, config.tolerance_mm, config.lesion_iou)
    verdict = Verdict(judging, methods.findings)
    volumes = VolumeJudge(judged, methods.findings, judging, out)
    with console.progress("eval", len(judged.cases)) as bar:
        for answered in methods.answer(judged.cases, verdict.failures):
            draw_case(answered, methods.findings, out)
            verdict.add(answered)
            volumes.add(answered)
            bar.advance()
    return verdict, volumes


def _write(
    out: Path,
    summary: dict[str, Any],
    verdict: Verdict,
    gallery: Iterator[GalleryItem],
    history: History,
) -> None:
    """The table, the summary and the page; the summary again, in short, on the terminal."""
    write_table(out / PER_CASE_CSV, ScoreRow, verdict.rows)
    if verdict.box_rows:
        write_table(out / PER_CASE_BOXES_CSV, BoxScoreRow, verdict.box_rows)
    write_json(out / SUMMARY_JSON, summary)
    write_report(out / REPORT_HTML, summary, verdict.rows, list(gallery), history)
    if verdict.rows:
        console.answer(format_table(summary["methods"], summary["labels"]))
    if "whole_volumes" in summary:
        console.answer(format_volumes(summary["whole_volumes"]))
    if verdict.box_rows:
        console.answer(format_box_table(summary["by_boxes"], summary["labels"]))
    if "of_itself" in summary:
        console.answer(format_of_itself(summary["of_itself"]))


def _finish(stage: Stage, summary: dict[str, Any], device: str, evaluation: _Evaluation) -> None:
    results: dict[str, Any] = {"dice": _dice(summary["methods"])}
    by_finding = summary["methods"].get(STUDENT, {}).get("by_finding")
    if by_finding:
        results |= {"student_by_finding": _dice(by_finding), "cases": summary["n_scored"]}
    written = [stage.out / name for name in (PER_CASE_CSV, SUMMARY_JSON, REPORT_HTML)]
    if "whole_volumes" in summary:
        written.append(stage.out / PER_VOLUME_CSV)
    if summary["by_boxes"]:
        results["by_boxes"] = summary["by_boxes"]
        written.append(stage.out / PER_CASE_BOXES_CSV)
    stage.finish(results, written, device)
    _renew_card(evaluation.student_dir, stage.out)
    if OTHER in summary["methods"]:
        console.say(f"{summary['labels'][OTHER]} is '{OTHER}' in {PER_CASE_CSV} and for --compare")
    following, run = after_eval(evaluation.student_dir), evaluation.to_audit
    if run is not None and not any(case.mask for case in evaluation.judged.cases):
        following = to_audit(run)
    facts = [*headline("eval", results), ("report", str(stage.out / REPORT_HTML))]
    console.summary("eval", facts, following)


def _renew_card(student_dir: Path, out: Path) -> None:
    """Tell the figures in the model card of a student whose own evaluation this is, where there is one
    that can be written."""
    own = evaluation_of(student_dir, RunDir(student_dir.resolve().parent))
    there = (student_dir / MODEL_CARD).is_file() and os.access(student_dir, os.W_OK)
    if there and own == out.resolve():
        renew_model_card(student_dir)


def _dice(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Of methods, or of findings; without one that no case has."""
    return {name: of["metrics"]["dice"] for name, of in scores.items() if "dice" in of["metrics"]}


def _load(student_dir: Path, device: str) -> Predictor:
    from meddistill.student.student import load_student

    return load_student(student_dir, device)
