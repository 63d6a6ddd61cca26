"""`meddistill detect`: train YOLO on the annotated cases, or take a trained one, and write boxes
for every case."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base import console
from meddistill.base.csv_tables import write_table
from meddistill.base.errors import StageError, WeightsError
from meddistill.base.files import atomic_path, write_json
from meddistill.data.findings import Findings
from meddistill.detector.start_weights import Start, find_start, fingerprint_start
from meddistill.detector.training_view import looked_for_in_view, write_training_view
from meddistill.detector.worker_process import WorkerOptions
from meddistill.detector.yolo import Detections, TrainingSettings, predict_boxes, train_detector
from meddistill.evaluation import detection
from meddistill.run.findings import read_findings
from meddistill.run.fingerprints import fingerprint_stage
from meddistill.run.headlines import headline
from meddistill.run.images import check_as_prepared, image_path
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import (
    BEST_PT,
    BOXES_CSV,
    LAST_PT,
    METRICS_JSON,
    RESULTS_CSV,
    TRAIN_LOG,
    RunDir,
)
from meddistill.run.next_commands import after_detect
from meddistill.run.record import Stage, as_begun
from meddistill.run.tables import SPLITS, BoxRow, Case, read_cases
from meddistill.run.volumes import drawn_for_training
from meddistill.settings import identity
from meddistill.settings.detect import DetectConfig
from meddistill.settings.flips import AUTO, sides_kept, told_of_sides

DEFAULT_CONFIDENCE = 0.25
"""Threshold where no validation case has a box to choose it by."""


def run_detect(
    run: RunDir,
    config: DetectConfig,
    *,
    seed: int,
    device: str = "auto",
    overwrite: bool = False,
    out: Path | None = None,
    data: Path | None = None,
) -> Path:
    """Write weights/best.pt, boxes.csv, metrics.json and run.json to RUN/detector (or `out`), which
    is returned.

    Raises: StageError where prepare has not finished or there is nothing to learn from;
    WeightsError for weights that are missing (with `train: false`), damaged or not to be trusted.

    Args:
        run: the RUN.
        config: settings.
        seed: of the training.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        overwrite: start anew where other settings left something.
        out: the folder to write, where not RUN/detector.
        data: the prepared data, where not RUN/data.
    """
    data_dir, out = data or run.data, out or run.detector
    config = as_begun(out, config, overwrite)
    cases = read_cases(data_dir)
    findings = read_findings(data_dir)
    if config.train:
        _check_trainable(cases, data_dir)
    settings = identity.of_detect(config, seed)
    inputs = {"data": fingerprint_stage(data_dir), "weights": fingerprint_start(config.weights)}
    if not overwrite and Stage.is_finished(out, "detect", settings, inputs):
        console.say(f"{out} is finished; nothing to do")
        return out
    # Before the stage begins: without weights it leaves no trace.
    start = find_start(config.weights, config.train)
    images = _images(data_dir, cases)
    stage = Stage.open(out, "detect", settings, inputs, overwrite=overwrite)
    console.detail(f"what Ultralytics says goes to {out / TRAIN_LOG}")
    options = WorkerOptions(device, config.trust_weights, out / TRAIN_LOG)
    learning = _training_settings(config, seed, findings) if config.train else None
    drawn = drawn_for_training(cases, config.empty_slices)
    training = (
        _train(out, start, learning, options, drawn, data_dir) if learning else _take(out, start)
    )
    found = predict_boxes(out / BEST_PT, images, config.image_size, options, findings)
    annotated = [annotated_findings(data_dir, case) for case in cases]
    metrics, rows = measure_findings(cases, found, annotated, config, findings)
    write_table(out / BOXES_CSV, BoxRow, rows)
    write_json(out / METRICS_JSON, {**metrics, "training": training})
    shutil.rmtree(out / "scratch", ignore_errors=True)
    (out / LAST_PT).unlink(missing_ok=True)
    results = _results(metrics, training, len(cases))
    outputs = [out / BEST_PT, out / BOXES_CSV, out / METRICS_JSON]
    stage.finish(results, outputs, device=str(training.get("device", device)))
    facts = [*headline("detect", results), ("boxes", str(out / BOXES_CSV))]
    console.summary("detect", facts, after_detect(run, out, data))
    return out


def _images(data_dir: Path, cases: Sequence[Case]) -> list[Path]:
    """The file of each case, which Ultralytics reads by itself. Raises: as `check_as_prepared`."""
    images = [image_path(data_dir, case) for case in cases]
    for path, case in console.track(zip(images, cases, strict=True), "look at images", len(cases)):
        check_as_prepared(path, case.sha256)
    return images


def _check_trainable(cases: Sequence[Case], data_dir: Path) -> None:
    if not any(case.split == "train" and case.annotation == "boxes" for case in cases):
        raise StageError(
            f"no training case in {data_dir} has a box: there is nothing to train a detector on; "
            "prepare with boxes or "
            "masks (and a box_fraction above 0), or give a trained detector with --weights FILE "
            "--no-train"
        )
    if not any(case.split == "val" for case in cases):
        raise StageError(
            f"{data_dir} has no validation split, by which the detector's threshold is chosen; "
            "prepare again with "
            "--val COLUMN=VALUE or --set prepare.val_fraction=0.15"
        )


def _take(out: Path, start: Start) -> dict[str, Any]:
    """Copy the weights given to best.pt; returns what metrics.json says of it."""
    assert start.path is not None
    with atomic_path(out / BEST_PT) as temporary:
        shutil.copyfile(start.path, temporary)
    return {"start": start.name, "epochs": 0}


def _train(
    out: Path,
    start: Start,
    settings: TrainingSettings,
    options: WorkerOptions,
    cases: Sequence[Case],
    data_dir: Path,
) -> dict[str, Any]:
    """Train best.pt on the annotated cases; returns what metrics.json says of it."""
    findings = read_findings(data_dir)
    view = write_training_view(out / "scratch", cases, data_dir, findings)
    looked = looked_for_in_view(view, cases, findings)
    weights = (out / BEST_PT).parent
    outcome = train_detector(view, weights, start.argument, settings, options, looked)
    epochs_table = view / "training" / "results.csv"
    if epochs_table.exists():
        shutil.copyfile(epochs_table, out / RESULTS_CSV)
    return {"start": start.name, **outcome}


def _training_settings(config: DetectConfig, seed: int, findings: Findings) -> TrainingSettings:
    kept = sides_kept(config.flips, findings.keeps_sides())
    told = told_of_sides("detect", kept)
    if told and config.flips == AUTO:
        console.say(told)
    return TrainingSettings(
        epochs=config.epochs,
        patience=config.patience,
        image_size=config.image_size,
        batch_size=config.batch_size,
        mosaic=config.mosaic,
        lr=config.lr,
        seed=seed,
        keeps_sides=kept,
    )


def _results(metrics: dict[str, Any], training: dict[str, Any], case_count: int) -> dict[str, Any]:
    """What run.json says of the detector."""
    measured = ("confidence", "recall50_val", "precision50_val", "map50_val")
    told = {
        **{key: metrics[key] for key in measured},
        "start": training["start"],
        "cases": case_count,
    }
    if "findings" in metrics:
        return told
    splits = metrics["splits"].values()
    return {**told, "cases_without_box": sum(split["n_cases_without_box"] for split in splits)}


def measure_findings(
    cases: Sequence[Case],
    found: Sequence[Detections],
    annotated: Sequence[tuple[np.ndarray, np.ndarray]],
    config: DetectConfig,
    findings: Findings,
) -> tuple[dict[str, Any], list[BoxRow]]:
    """What metrics.json holds, and the rows of boxes.csv: threshold and most boxes are by finding.

    Of several the numbers on validation are means over the findings, each of which has its own
    under `findings`. Raises: WeightsError for boxes of a class that is none of them.

    Args:
        cases: all cases of the RUN.
        found: what the detector found in each.
        annotated: the boxes (N, 4) px that people gave for each, and the place of their finding.
        config: settings.
        findings: of the RUN.
    """
    if findings.is_one:
        metrics, confidence = measure(cases, found, [boxes for boxes, _ in annotated], config)
        return metrics, box_rows(cases, found, confidence, config.max_boxes)
    strangers = {name for pred in found for name in pred.class_names} - set(findings.names)
    if strangers:
        raise WeightsError(
            f"the detector finds '{min(strangers)}', which is none of the RUN's findings "
            f"({', '.join(findings.names)}); give one that knows them, or train it"
        )
    by_finding: dict[str, Any] = {}
    rows: list[BoxRow] = []
    for place, name in enumerate(findings.names):
        own = [boxes[which == place] for boxes, which in annotated]
        seen = [case.of_finding(name, len(boxes)) for case, boxes in zip(cases, own, strict=True)]
        preds = [pred.of(name) for pred in found]
        by_finding[name], confidence = measure(seen, preds, own, config)
        rows += box_rows(seen, preds, confidence, config.max_boxes)
    order = {case.case_id: index for index, case in enumerate(cases)}
    rows.sort(key=lambda row: order[row.case_id])
    return {**_means(by_finding), "findings": by_finding}, rows


def _means(by_finding: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over the findings that have a number; of each split how many cases have no box at all
    is told by finding."""
    told: dict[str, Any] = {
        "confidence": {name: metrics["confidence"] for name, metrics in by_finding.items()}
    }
    for key in ("recall50_val", "precision50_val", "map50_val", "map50_95_val"):
        values = [each[key] for each in by_finding.values() if each[key] is not None]
        told[key] = float(np.mean(values)) if values else None
    return told


def measure(
    cases: Sequence[Case],
    found: Sequence[Detections],
    annotated: Sequence[np.ndarray],
    config: DetectConfig,
) -> tuple[dict[str, Any], float]:
    """What metrics.json holds, and the threshold: the one given, else the lowest that is about as good as
    the best F1 on validation (`detection.choose_confidence`), else 0.25.

    Only annotated cases are measured: a box in an `unknown` case is neither right nor wrong.

    Args:
        cases: all cases of the RUN.
        found: what the detector found in each.
        annotated: the boxes (N, 4) px that people gave for each.
        config: settings.
    """
    val = detection.precision_recall(
        *_annotated_images("val", cases, found, annotated, config.max_boxes)
    )
    confidence, source = config.confidence, "given"
    if confidence is None:
        confidence = detection.choose_confidence(val)
        source = f"lowest within {detection.F1_TIE} of the best F1 at IoU 0.5 on validation"
    if confidence is None:
        confidence, source = DEFAULT_CONFIDENCE, "default: no box of a validation case was found"
    precision, recall = val.at(confidence)
    candidates = _annotated_images("val", cases, found, annotated)
    metrics = {
        "confidence": confidence,
        "confidence_source": source,
        "recall50_val": recall,
        "precision50_val": precision,
        "map50_val": detection.average_precision(detection.precision_recall(*candidates)),
        "map50_95_val": detection.mean_average_precision(*candidates),
        "splits": {
            split: _split_metrics(split, cases, found, annotated, confidence, config.max_boxes)
            for split in SPLITS
        },
        "pr_curve_val": detection.curve_points(val),
    }
    return metrics, confidence


def _annotated_images(
    split: str,
    cases: Sequence[Case],
    found: Sequence[Detections],
    annotated: Sequence[np.ndarray],
    max_boxes: int | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Boxes found, their confidences and the annotated boxes, of a split's cases that someone
    looked at."""
    inside = [
        (pred if max_boxes is None else pred.above(0.0, max_boxes), target)
        for case, pred, target in zip(cases, found, annotated, strict=True)
        if case.split == split and case.annotation != "unknown"
    ]
    return (
        [p.boxes_xyxy_px for p, _ in inside],
        [p.confidence for p, _ in inside],
        [target for _, target in inside],
    )


def _split_metrics(
    split: str,
    cases: Sequence[Case],
    found: Sequence[Detections],
    annotated: Sequence[np.ndarray],
    confidence: float,
    max_boxes: int,
) -> dict[str, Any]:
    curve = detection.precision_recall(
        *_annotated_images(split, cases, found, annotated, max_boxes)
    )
    precision, recall = curve.at(confidence)
    inside = [(case, pred) for case, pred in zip(cases, found, strict=True) if case.split == split]
    without = [
        case for case, pred in inside if len(pred.above(confidence, max_boxes).confidence) == 0
    ]
    return {
        "n_cases": len(inside),
        "n_annotated_boxes": curve.n_true,
        "recall50": recall,
        "precision50": precision,
        "n_cases_without_box": len(without),
        "n_lesion_cases": sum(case.annotation == "boxes" for case, _ in inside),
        "n_lesion_cases_without_box": sum(case.annotation == "boxes" for case in without),
    }


def box_rows(
    cases: Sequence[Case], found: Sequence[Detections], confidence: float, max_boxes: int
) -> list[BoxRow]:
    """Rows of boxes.csv.

    Args:
        cases: all cases of the RUN.
        found: what the detector found in each.
        confidence: lowest score of a box.
        max_boxes: most boxes a case, the surest.
    """
    rows = []
    for case, pred in zip(cases, found, strict=True):
        kept = pred.above(confidence, max_boxes)
        for box, score, name in zip(
            kept.boxes_xyxy_px.tolist(), kept.confidence, kept.class_names, strict=True
        ):
            x1, y1, x2, y2 = (round(value, 2) for value in box)
            rows.append(
                BoxRow(case.case_id, case.split, x1, y1, x2, y2, round(float(score), 5), name)
            )
    return rows
