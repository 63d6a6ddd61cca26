"""`meddistill eval`: the student and its baselines against the true masks, in numbers, pictures and a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from meddistill import console
from meddistill.artifacts import (
    CONFIG_JSON,
    MODEL_SAFETENSORS,
    PER_CASE_CSV,
    PREPROCESSING_JSON,
    REPORT_HTML,
    RUN_JSON,
    SUMMARY_JSON,
    RunDir,
    read_cases,
    require,
    write_json,
    write_table,
)
from meddistill.config import EvalConfig, as_settings
from meddistill.data.fingerprint import fingerprint_source, hash_files
from meddistill.data.frames import Preprocessing
from meddistill.data.images import write_png
from meddistill.errors import ConfigError, InputError
from meddistill.evaluation.baselines import LABELS, STUDENT, Baselines, find_baselines
from meddistill.evaluation.metrics import DEFINITIONS, score_case
from meddistill.evaluation.overlays import side_by_side
from meddistill.evaluation.report import GALLERY_CASES, GalleryItem, write_report
from meddistill.evaluation.subjects import Subject, read_image, read_truth, subjects_of_folders, subjects_of_run
from meddistill.evaluation.summary import ScoreRow, format_table, score_row, size_bounds, summarise
from meddistill.provenance import Stage, fingerprint_stage


class Predictor(Protocol):
    """What is evaluated; `models.student.Student` is one."""

    preprocessing: Preprocessing

    def predict_probs(self, images: Sequence[np.ndarray]) -> list[np.ndarray]: ...


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

    `data`, `student`, `boxes` replace RUN's own. `predictor` stands in for the student that would be loaded.
    Raises: StageError for a RUN that lacks an earlier stage, ConfigError for a split without cases, InputError at the
    end, after all other cases are done, where some could not be read.
    """
    data_dir, student_dir = data or run.data, student or run.student
    all_cases = read_cases(data_dir)
    cases = [case for case in all_cases if case.split == config.split]
    if not cases:
        raise ConfigError(f"{data_dir} has no case in the split '{config.split}'; choose another with --split")
    if student is None:
        require(student_dir / RUN_JSON, "distill")
    baselines = find_baselines(run, all_cases, config.split, boxes) if config.baselines else Baselines()
    inputs = {"data": fingerprint_stage(data_dir), "student": _fingerprint_student(student_dir), **baselines.inputs}
    return _evaluate(
        subjects_of_run(cases, data_dir), baselines, config, out or run.eval, student_dir, inputs,
        seed=seed, device=device, overwrite=overwrite, predictor=predictor,
    )  # fmt: skip


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
    """Evaluate a student on a folder of images and one of masks; files without a partner are named and left out."""
    subjects, unpaired = subjects_of_folders(images, masks)
    if unpaired:
        names = ", ".join(path.name for path in unpaired[:5]) + (", ..." if len(unpaired) > 5 else "")
        console.warn(f"{len(unpaired)} file(s) have no partner and are left out: {names}")
    inputs = {
        "images": fingerprint_source(hash_files([subject.image for subject in subjects], images), images),
        "masks": fingerprint_source(hash_files([subject.mask for subject in subjects if subject.mask], masks), masks),
        "student": _fingerprint_student(student),
    }
    return _evaluate(
        subjects, Baselines(), config, out, student, inputs,
        seed=seed, device=device, overwrite=overwrite, predictor=predictor,
    )  # fmt: skip


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
        console.say(f"no case of '{config.split}' has a true mask: nothing to evaluate against, only pictures")

    rows: list[ScoreRow] = []
    failures: list[str] = []
    with console.progress("eval", len(subjects)) as bar:
        for subject, image, truth, probs in _predictions(subjects, predictor, config.batch_size, failures):
            bar.advance()
            pred = probs >= np.float32(threshold)
            write_png(out / "masks" / f"{subject.case_id}.png", pred.astype(np.uint8) * 255)
            write_png(out / "overlays" / f"{subject.case_id}.png", side_by_side(image, pred, truth))
            if truth is None:
                continue
            masks = {STUDENT: pred} | {name: mask_of(subject, truth.shape) for name, mask_of in baselines.masks.items()}
            for method, mask in masks.items():
                scores = score_case(mask, truth, subject.spacing_hw_mm)
                rows.append(score_row(subject, method, scores))
    summary = _summary(subjects, rows, baselines.skipped, failures, threshold, config.split, seed)
    write_table(out / PER_CASE_CSV, ScoreRow, rows)
    write_json(out / SUMMARY_JSON, summary)
    write_report(out / REPORT_HTML, summary, list(_gallery(subjects, rows, out)))
    if rows:
        print(format_table(summary["methods"], LABELS))
    console.say(f"report: {out / REPORT_HTML}")
    if failures:
        raise InputError(f"{len(failures)} of {len(subjects)} cases could not be evaluated; first: {failures[0]}")
    stage.finish(
        {"dice": {name: scores["metrics"]["dice"] for name, scores in summary["methods"].items()}},
        [out / name for name in (PER_CASE_CSV, SUMMARY_JSON, REPORT_HTML)],
        device,
    )
    return out


def _predictions(
    subjects: Sequence[Subject], predictor: Predictor, batch_size: int, failures: list[str]
) -> Iterator[tuple[Subject, np.ndarray, np.ndarray | None, np.ndarray]]:
    """Each readable case with image, truth (None without a mask) and the student's probabilities; others are named."""
    for start in range(0, len(subjects), batch_size):
        batch = []
        for subject in subjects[start : start + batch_size]:
            try:
                image = read_image(subject.image)
                truth = None if subject.mask is None else read_truth(subject.mask, image.shape[:2])
                batch.append((subject, image, truth))
            except InputError as error:
                failures.append(str(error))
                console.warn(str(error))
        probs = predictor.predict_probs([image for _, image, _ in batch])
        for (subject, image, truth), prob in zip(batch, probs, strict=True):
            yield subject, image, truth, prob


def _summary(
    subjects: Sequence[Subject],
    rows: Sequence[ScoreRow],
    skipped: dict[str, str],
    failures: Sequence[str],
    threshold: float,
    split: str,
    seed: int,
) -> dict[str, Any]:
    return {
        "split": split,
        "threshold": threshold,
        "n_cases": len(subjects),
        "n_scored": len({row.case_id for row in rows}),
        "failures": list(failures),
        "skipped": skipped,
        "labels": LABELS,
        "definitions": {
            name: {"name": title, "unit": unit, "definition": text} for name, (title, unit, text) in DEFINITIONS.items()
        },
        "size_bounds_px": size_bounds(rows),
        "methods": summarise(rows, seed=seed) if rows else {},
    }


def _gallery(subjects: Sequence[Subject], rows: Sequence[ScoreRow], out: Path) -> Iterator[GalleryItem]:
    """The student's worst cases first; cases without a truth as they come."""
    dice = {row.case_id: row.dice for row in rows if row.method == STUDENT}
    shown = [subject for subject in subjects if (out / "overlays" / f"{subject.case_id}.png").exists()]
    shown.sort(key=lambda subject: dice.get(subject.case_id, 2.0))
    for subject in shown[:GALLERY_CASES]:
        picture = read_image(out / "overlays" / f"{subject.case_id}.png")
        yield GalleryItem(subject.name, subject.class_name, dice.get(subject.case_id), picture)


def _load(student_dir: Path, device: str) -> Predictor:
    from meddistill.models.student import load_student

    return load_student(student_dir, device)


def _fingerprint_student(student_dir: Path) -> str:
    if (student_dir / RUN_JSON).exists():
        return fingerprint_stage(student_dir)
    files = [student_dir / name for name in (CONFIG_JSON, MODEL_SAFETENSORS, PREPROCESSING_JSON)]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise InputError(f"{student_dir} is not a student: it has no {missing[0]}")
    return fingerprint_source(hash_files(files, student_dir), student_dir)
