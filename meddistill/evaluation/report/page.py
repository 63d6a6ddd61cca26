"""report.html: one page that holds everything it shows and asks the network for nothing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from meddistill.base.files import write_text
from meddistill.data.findings import Findings
from meddistill.evaluation.baselines import BOXES, STUDENT, TEACHER
from meddistill.evaluation.box_scores import BOX_COLUMNS
from meddistill.evaluation.report import charts, finding_parts, trust_parts
from meddistill.evaluation.report.gallery import GalleryItem, picture_address
from meddistill.evaluation.report.training_curves import History
from meddistill.evaluation.scores import ScoreRow, averaged, by_method
from meddistill.run.layout import VOLUMES_PNG

_TEMPLATES = Path(__file__).parent / "templates"
# Metrics of the big table, and whether a second row gives detected cases alone.
_ROWS = (
    ("dice", False),
    ("iou", False),
    ("sensitivity", False),
    ("precision", False),
    ("specificity", False),
    ("hd95_px", True),
    ("hd95_mm", True),
    ("hd_px", True),
    ("hd_mm", True),
    ("assd_px", True),
    ("assd_mm", True),
    ("nsd_px", False),
    ("nsd_mm", False),
    ("area_error", False),
    ("brier", False),
    ("ece", False),
)
_TRAINING_NAMES = {
    "loss": "total loss",
    "bce": "mask: BCE",
    "dice": "mask: Dice loss",
    "probability": "probability: MSE",
    "feature": "features",
    "prior": "box prior",
    "agreement": "agreement with the teacher (validation)",
    "lr": "step size",
    "gradient_norm": "gradient norm",
}


def write_report(
    path: Path,
    summary: dict[str, Any],
    rows: Sequence[ScoreRow],
    gallery: Sequence[GalleryItem],
    history: History,
) -> None:
    """Write the page. Every text in it (case names, classes) is escaped; pictures are data
    addresses.

    Args:
        path: HTML file to write.
        summary: as summary.json.
        rows: of per_case.csv.
        gallery: pictures, in the order shown.
        history: what training and detector left to show.
    """
    findings = finding_parts.findings_of(summary)
    template = _environment().get_template("report.html")
    page = template.render(
        summary=summary,
        methods=summary["methods"],
        labels=summary["labels"],
        student=summary["methods"].get(STUDENT),
        by_boxes=summary["by_boxes"],
        boxed=summary["by_boxes"].get(STUDENT),
        box_columns=BOX_COLUMNS,
        metric_rows=_metric_rows(summary),
        whole=summary.get("whole_volumes"),
        student_mm="hd95_mm"
        in summary.get("whole_volumes", {}).get("methods", {}).get(STUDENT, {}).get("metrics", {}),
        volumes_sheet=_sheet(path.with_name(VOLUMES_PNG)),
        findings=[] if findings is None else findings.names,
        by_finding=finding_parts.rows_by_finding(summary, findings),
        confusion=finding_parts.confusion(summary, findings),
        distributions=[
            *_distributions(rows, summary["labels"]),
            *finding_parts.strips_by_finding(rows, findings),
        ],
        parts=_parts(summary),
        budget=_budget(summary),
        reliability=None if "of_itself" in summary else _reliability(summary, findings),
        of_itself=trust_parts.of_itself(summary),
        training=_training(history),
        detector=_detector(history, summary["split"]),
        threshold=_threshold(summary["threshold"]),
        n_gallery=len(gallery),
        gallery=[dataclasses.asdict(item) for item in gallery],
        classes=sorted({item.class_name for item in gallery if item.class_name}),
        css=_asset("report.css") + finding_parts.css_of(findings),
        js=_asset("report.js"),
    )
    write_text(path, page)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters |= {"number": _number, "ci": _interval, "plural": _plural}
    return environment


def _sheet(path: Path) -> str:
    """The picture of all volumes as a data address; '' where there is none."""
    return picture_address(path.read_bytes()) if path.is_file() else ""


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _metric_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the big table: a metric with its definition, and a spread a method (None where it has
    none)."""
    table = []
    for name, also_detected in _ROWS:
        cells = {
            method: scores["metrics"].get(name) for method, scores in summary["methods"].items()
        }
        if not any(cells.values()):
            continue
        digits = 2 if name.startswith(("hd", "assd")) else 3
        entry = {**summary["definitions"][name], "cells": cells, "digits": digits, "note": ""}
        table.append(
            entry
            | (
                {"note": "all cases; a miss or a false alarm costs the diagonal"}
                if also_detected
                else {}
            )
        )
        if also_detected:
            detected = {
                method: scores["detected_only"] for method, scores in summary["methods"].items()
            }
            cells = {method: part["metrics"].get(name) for method, part in detected.items()}
            counts = ", ".join(f"{part['n']} ({method})" for method, part in detected.items())
            table.append(
                entry
                | {"cells": cells, "note": f"only cases where both masks hold something: {counts}"}
            )
    return table


def _distributions(rows: Sequence[ScoreRow], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    parts = {
        method: [row for own in averaged(part) for row in own]
        for method, part in by_method(rows).items()
    }
    if not any(parts.values()):
        return []
    drawn = []
    for name, title, high in (("dice", "Dice", 1.0), ("hd95_px", "HD95, px", None)):
        series = [
            charts.Series(
                labels[method],
                method,
                [getattr(row, name) for row in part],
                [f"{row.case_id}, {row.finding}".rstrip(", ") for row in part],
            )
            for method, part in parts.items()
        ]
        top = high or max(1.0, max(max(one.values) for one in series))
        drawn.append(
            {
                "title": title,
                "svg": charts.strips(series, low=0.0, high=top, title=f"Distribution of {title}"),
            }
        )
    return drawn


def _parts(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table by class and by lesion size, a Dice a method."""
    if not summary["methods"]:
        return []
    bounds = summary["size_bounds_px"]
    sizes = {"small": "small", "medium": "medium", "large": "large"}
    if not isinstance(bounds, Mapping):  # several findings have thirds of their own
        low, high = bounds
        sizes |= {
            "small": f"small, up to {low:.0f} px",
            "medium": f"medium, up to {high:.0f} px",
        }
    table = []
    for key, title in (("by_class", "Class"), ("by_size", "Lesion size, thirds")):
        student = summary["methods"][STUDENT][key]
        for name, part in student.items():
            cells = {}
            for method, scores in summary["methods"].items():
                spread = scores[key][name]["metrics"].get("dice")
                if spread is None:  # what no case of several findings has
                    continue
                drawn = charts.interval(spread["mean"], spread["ci95"], css=method)
                cells[method] = {**spread, "svg": drawn, "n_missed": scores[key][name]["n_missed"]}
            label = sizes[name] if key == "by_size" else name or "(no class)"
            if cells:
                table.append({"title": title, "name": label, "n": part["n"], "cells": cells})
    return table


def _budget(summary: dict[str, Any]) -> dict[str, Any] | None:
    budget = summary["error_budget"]
    if budget is None:
        return None
    parts = {
        "missed by the detector": (budget["detector"], BOXES),
        "wrong by the teacher": (budget["teacher"], TEACHER),
        "won back by the student" if budget["student"] < 0 else "lost by the student": (
            budget["student"],
            STUDENT,
        ),
    }
    return {**budget, "parts": parts, "svg": charts.stack(parts, title="Where Dice is lost")}


def _reliability(summary: dict[str, Any], findings: Findings | None) -> dict[str, Any] | None:
    if not summary["calibration"]:
        return None
    near = summary["calibration"]["near"]
    drawn = charts.curve(
        charts.Line(near["curve"]["prob"], near["curve"]["share"], dots=True),
        x_label="probability given by the student",
        y_label="share that is lesion",
        title="Reliability of the student's probabilities",
        diagonal=True,
        others=finding_parts.reliability_lines(summary, findings),
    )
    return {"near": near, "all": summary["calibration"]["all"], "svg": drawn}


def _training(history: History) -> list[dict[str, Any]]:
    """A small chart a column of the training log, in three families."""
    families: dict[str, list[dict[str, Any]]] = {
        "Losses": [],
        "Weights of the losses": [],
        "Agreement and step": [],
    }
    for name, values in history.training.items():
        known = [value for value in values if value is not None]
        if name == "epoch" or not known:
            continue
        family = "Losses"
        if name.startswith("weight"):
            family = "Weights of the losses"
        elif name in ("agreement", "lr", "gradient_norm"):
            family = "Agreement and step"
        title = _TRAINING_NAMES.get(name, name.replace("_", " "))
        svg = charts.epochs(values, title=f"{title} by epoch")
        families[family].append({"name": title, "first": known[0], "last": known[-1], "svg": svg})
    return [{"title": title, "charts": drawn} for title, drawn in families.items() if drawn]


def _detector(history: History, split: str) -> dict[str, Any] | None:
    metrics = history.detector
    if not metrics:
        return None
    points = metrics.get("pr_curve_val") or {}
    drawn = None
    if points.get("recall"):
        chosen = None
        recall, precision = metrics.get("recall50_val"), metrics.get("precision50_val")
        if recall is not None and precision is not None:
            chosen = (recall, precision, f"chosen: {metrics['confidence']:.2f}")
        drawn = charts.curve(
            charts.Line(points["recall"], points["precision"], css=BOXES, marked=chosen),
            x_label="recall at IoU 0.5",
            y_label="precision",
            title="Precision and recall of the detector on validation boxes",
        )
    numbers = {
        "recall at IoU 0.5": metrics.get("recall50_val"),
        "precision": metrics.get("precision50_val"),
        "mAP50": metrics.get("map50_val"),
        "mAP50-95": metrics.get("map50_95_val"),
        "confidence threshold": metrics.get("confidence"),
    }
    by_finding = finding_parts.detector_by_finding(metrics, split)
    if by_finding:  # each has a threshold of its own
        del numbers["confidence threshold"]
    return {
        "svg": drawn,
        "numbers": {name: value for name, value in numbers.items() if value is not None},
        "splits": metrics.get("splits") or {},
        "by_finding": by_finding,
    }


def _threshold(cuts: float | Mapping[str, float]) -> str:
    if not isinstance(cuts, Mapping):
        return str(cuts)
    return ", ".join(f"{cut:g} ({name})" for name, cut in cuts.items())


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(ci: Sequence[float] | None, digits: int = 3) -> str:
    return "one group: no interval" if ci is None else f"{ci[0]:.{digits}f} to {ci[1]:.{digits}f}"


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
