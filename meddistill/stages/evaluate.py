"""`meddistill eval`: the student and its baselines against the true masks, in numbers, pictures and
a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json, write_json, write_table
from meddistill.base.hashing import fingerprint_source, hash_files
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import Preprocessing
from meddistill.data.intensity import IntensitySettings
from meddistill.data.overlays import side_by_side
from meddistill.evaluation.baselines import (
    BOXES,
    LABELS,
    STUDENT,
    TEACHER,
    Baselines,
    Guess,
    find_baselines,
)
from meddistill.evaluation.calibration import Calibration
from meddistill.evaluation.components import clean_up
from meddistill.evaluation.report.gallery import GalleryItem, choose_cases, make_item
from meddistill.evaluation.report.page import write_report
from meddistill.evaluation.report.training_curves import History, read_history
from meddistill.evaluation.scores import Judging, ScoreRow, score
from meddistill.evaluation.subjects import (
    Subject,
    read_image,
    read_truth,
    subjects_of_folders,
    subjects_of_run,
)
from meddistill.evaluation.summary import (
    by_volume,
    define,
    error_budget,
    format_table,
    size_bounds,
    summarise,
)
from meddistill.run.headlines import headline
from meddistill.run.layout import (
    CONFIG_JSON,
    MODEL_SAFETENSORS,
    PER_CASE_CSV,
    PREPROCESSING_JSON,
    REPORT_HTML,
    RUN_JSON,
    SUMMARY_JSON,
    RunDir,
    require,
)
from meddistill.run.next_commands import after_eval
from meddistill.run.record import Stage, fingerprint_stage
from meddistill.run.tables import read_cases
from meddistill.settings.config import as_settings
from meddistill.settings.evaluate import EvalConfig

UNKNOWN_GROUPS = (
    "groups are unknown: slices of one patient may lie on both sides of the split and count as "
    "independent, so the "
    "numbers may be optimistic and their intervals too narrow"
)


class Predictor(Protocol):
    """What is evaluated; `models.student.Student` is one."""

    preprocessing: Preprocessing

    def predict_probs(self, images: Sequence[np.ndarray]) -> list[np.ndarray]: ...


@dataclasses.dataclass(frozen=True)
class View:
    """A case as it was read: image uint8 (H, W, 3), truth bool (H, W) or None, the student's
    probabilities (H, W)."""

    subject: Subject
    image: np.ndarray
    truth: np.ndarray | None
    probs: np.ndarray


def run_eval(
    run: RunDir,
    config: EvalConfig,
    *,
    seed: int,
    device: str = "cpu",
    overwrite: bool = False,
    out: Path | None = None,
    data: Path | None = None,
    student: Path | None = None,
    boxes: Path | None = None,
    predictor: Predictor | None = None,
) -> Path:
    """Evaluate RUN's student on one split and write RUN/eval (or `out`); returns that directory.

    `data`, `student`, `boxes` replace RUN's own. `predictor` stands in for the student that would
    be loaded. Raises: StageError for a RUN that lacks an earlier stage, ConfigError for a split
    without cases, InputError at the end, after all other cases are done, where some could not be
    read.
    """
    data_dir, student_dir = data or run.data, student or run.student
    all_cases = read_cases(data_dir)
    cases = [case for case in all_cases if case.split == config.split]
    if not cases:
        raise ConfigError(
            f"{data_dir} has no case in the split '{config.split}'; choose another with --split"
        )
    if student is None:
        require(student_dir / RUN_JSON, "distill")
    baselines = (
        find_baselines(run, all_cases, config.split, boxes) if config.baselines else Baselines()
    )
    inputs = {
        "data": fingerprint_stage(data_dir),
        "student": _fingerprint_student(student_dir),
        **baselines.inputs,
    }
    return _evaluate(
        subjects_of_run(cases, data_dir),
        baselines,
        config,
        out or run.eval,
        student_dir,
        inputs,
        seed=seed,
        device=device,
        overwrite=overwrite,
        predictor=predictor,
        history=read_history(student_dir, run.detector),
        groups_known=_groups_known(data_dir),
    )


def run_eval_folders(
    images: Path,
    masks: Path,
    student: Path,
    out: Path,
    config: EvalConfig,
    *,
    seed: int,
    device: str = "cpu",
    overwrite: bool = False,
    predictor: Predictor | None = None,
) -> Path:
    """Evaluate a student on a folder of images and one of masks; files without a partner are named
    and left out."""
    subjects, unpaired = subjects_of_folders(images, masks)
    if unpaired:
        names = ", ".join(path.name for path in unpaired[:5]) + (
            ", ..." if len(unpaired) > 5 else ""
        )
        console.warn(f"{len(unpaired)} file(s) have no partner and are left out: {names}")
    inputs = {
        "images": fingerprint_source(
            hash_files([subject.image for subject in subjects], images), images
        ),
        "masks": fingerprint_source(
            hash_files([subject.mask for subject in subjects if subject.mask], masks), masks
        ),
        "student": _fingerprint_student(student),
    }
    return _evaluate(
        subjects,
        Baselines(),
        config,
        out,
        student,
        inputs,
        seed=seed,
        device=device,
        overwrite=overwrite,
        predictor=predictor,
        history=read_history(student),
        groups_known=False,
        as_prepared=False,
    )


def _evaluate(
    subjects: Sequence[Subject],
    baselines: Baselines,
    config: EvalConfig,
    out: Path,
    student_dir: Path,
    inputs: dict[str, str],
    *,
    seed: int,
    device: str,
    overwrite: bool,
    predictor: Predictor | None,
    history: History,
    groups_known: bool,
    as_prepared: bool = True,
) -> Path:
    settings = {**as_settings(config), "seed": seed}
    del settings["batch_size"]
    stage = Stage.open(out, "eval", settings, inputs, overwrite)
    if stage.finished:
        console.say(f"{out} is up to date: {out / REPORT_HTML}")
        return out
    predictor = predictor or _load(student_dir, device)
    threshold = predictor.preprocessing.threshold if config.threshold is None else config.threshold
    for method, reason in baselines.skipped.items():
        console.say(f"{LABELS[method]}: not evaluated, {reason}")
    if not any(subject.mask for subject in subjects):
        console.say(
            f"no case of '{config.split}' has a true mask: nothing to evaluate against, only "
            "pictures"
        )
    if not groups_known:
        console.warn(UNKNOWN_GROUPS)
    # What `prepare` made is read as it is; foreign pictures become what the student knows.
    intensity = None if as_prepared else predictor.preprocessing.intensity
    judging = Judging(config.tolerance_px, config.tolerance_mm, config.lesion_iou)

    rows: list[ScoreRow] = []
    done: list[Subject] = []
    failures: list[str] = []
    calibration = {"all": Calibration(), "near": Calibration(near=True)}
    n_cleaned = 0
    with console.progress("eval", len(subjects)) as bar:
        for view in _views(subjects, predictor, config, intensity, failures):
            guesses, cleaned = _guesses(view, baselines, config, threshold)
            done.append(view.subject)
            n_cleaned += cleaned
            pred = guesses[STUDENT].mask
            write_png(out / "masks" / f"{view.subject.case_id}.png", pred.astype(np.uint8) * 255)
            write_png(
                out / "overlays" / f"{view.subject.case_id}.png",
                side_by_side(view.image, pred, view.truth),
            )
            if view.truth is not None:
                for method, guess in guesses.items():
                    rows.append(
                        score(view.subject, method, guess.mask, guess.probs, view.truth, judging)
                    )
                for counted in calibration.values():
                    counted.add(view.probs, view.truth)
            bar.advance()
    summary: dict[str, Any] = {
        "split": config.split,
        "threshold": threshold,
        "n_cases": len(subjects),
        "n_scored": len({row.case_id for row in rows}),
        "failures": failures,
        "warnings": [] if groups_known else [UNKNOWN_GROUPS],
        "skipped": baselines.skipped,
        "postprocessing": {
            "flip_average": config.flip_average,
            "min_component_px": config.min_component_px,
            "keep_largest": config.keep_largest,
            "n_changed": n_cleaned,
        },
        "labels": LABELS,
        "definitions": define(judging),
        "size_bounds_px": size_bounds(rows),
        "methods": summarise(rows, seed=seed) if rows else {},
        "volumes": by_volume(rows),
        "calibration": {name: counted.as_dict() for name, counted in calibration.items()}
        if rows
        else None,
        "error_budget": error_budget(rows, STUDENT, TEACHER, BOXES),
    }
    write_table(out / PER_CASE_CSV, ScoreRow, rows)
    write_json(out / SUMMARY_JSON, summary)
    items = list(_gallery(done, rows, predictor, baselines, config, threshold, intensity))
    write_report(out / REPORT_HTML, summary, rows, items, history)
    if rows:
        console.answer(format_table(summary["methods"], LABELS))
    if failures:
        raise InputError(
            f"{len(failures)} of {len(subjects)} cases could not be evaluated, {out / REPORT_HTML} "
            "shows the others; "
            f"first: {failures[0]}"
        )
    results = {
        "dice": {name: scores["metrics"]["dice"] for name, scores in summary["methods"].items()}
    }
    stage.finish(
        results,
        [out / name for name in (PER_CASE_CSV, SUMMARY_JSON, REPORT_HTML)],
        device,
    )
    console.summary(
        "eval",
        [*headline("eval", results), ("report", str(out / REPORT_HTML))],
        after_eval(student_dir),
    )
    return out


def _views(
    subjects: Sequence[Subject],
    predictor: Predictor,
    config: EvalConfig,
    intensity: IntensitySettings | None,
    failures: list[str],
) -> Iterator[View]:
    """Each readable case with its truth and the student's probabilities; the others are named in
    `failures`."""
    for start in range(0, len(subjects), config.batch_size):
        batch = []
        for subject in subjects[start : start + config.batch_size]:
            try:
                image = read_image(subject.image, intensity)
                truth = (
                    None
                    if subject.mask is None
                    else read_truth(subject.mask, (image.shape[0], image.shape[1]))
                )
                batch.append((subject, image, truth))
            except InputError as error:
                failures.append(str(error))
                console.warn(str(error))
        images = [image for _, image, _ in batch]
        probs = predictor.predict_probs(images)
        if config.flip_average:
            mirrored = predictor.predict_probs(
                [np.ascontiguousarray(image[:, ::-1]) for image in images]
            )
            probs = [(one + other[:, ::-1]) / 2 for one, other in zip(probs, mirrored, strict=True)]
        for (subject, image, truth), prob in zip(batch, probs, strict=True):
            yield View(subject, image, truth, prob)


def _guesses(
    view: View, baselines: Baselines, config: EvalConfig, threshold: float
) -> tuple[dict[str, Guess], bool]:
    """What every method says of a case, the student first, and whether cleaning up changed the
    student's mask."""
    raw = view.probs >= np.float32(threshold)
    mask = clean_up(raw, min_component_px=config.min_component_px, keep_largest=config.keep_largest)
    size_hw = (view.image.shape[0], view.image.shape[1])
    others = {
        method: guess_of(view.subject, size_hw) for method, guess_of in baselines.guesses.items()
    }
    return {STUDENT: Guess(mask, view.probs), **others}, bool((mask != raw).any())


def _gallery(
    subjects: Sequence[Subject],
    rows: Sequence[ScoreRow],
    predictor: Predictor,
    baselines: Baselines,
    config: EvalConfig,
    threshold: float,
    intensity: IntensitySettings | None,
) -> Iterator[GalleryItem]:
    """The chosen cases, worst first, predicted once more: keeping all probabilities would not
    scale."""
    by_case: dict[str, list[ScoreRow]] = {}
    for row in rows:
        by_case.setdefault(row.case_id, []).append(row)
    dice = {row.case_id: row.dice for row in rows if row.method == STUDENT}
    chosen = choose_cases(
        dice or {subject.case_id: 0.0 for subject in subjects}, config.gallery_cases
    )
    by_id = {subject.case_id: subject for subject in subjects}
    for view in _views([by_id[case_id] for case_id in chosen], predictor, config, intensity, []):
        guesses, _ = _guesses(view, baselines, config, threshold)
        yield make_item(
            view.subject, view.image, view.truth, guesses, by_case.get(view.subject.case_id, [])
        )


def _groups_known(data_dir: Path) -> bool:
    """Whether `prepare` knew which cases belong together."""
    return bool(read_json(data_dir / RUN_JSON).get("results", {}).get("groups_known", False))


def _load(student_dir: Path, device: str) -> Predictor:
    from meddistill.student.student import load_student

    return load_student(student_dir, device)


def _fingerprint_student(student_dir: Path) -> str:
    if (student_dir / RUN_JSON).exists():
        return fingerprint_stage(student_dir)
    files = [student_dir / name for name in (CONFIG_JSON, MODEL_SAFETENSORS, PREPROCESSING_JSON)]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise InputError(f"{student_dir} is not a student: it has no {missing[0]}")
    return fingerprint_source(hash_files(files, student_dir), student_dir)
