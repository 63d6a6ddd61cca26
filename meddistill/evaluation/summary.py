"""From a row a case and method to the summary: overall, per class, lesion size and volume, with
intervals by group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from meddistill.evaluation.components import LesionCounts
from meddistill.evaluation.metrics import DEFINITIONS, Overlap
from meddistill.evaluation.scores import Judging, ScoreRow, by_method
from meddistill.evaluation.statistics import bootstrap_ratio, describe

METRICS = (*DEFINITIONS, "brier", "ece")
_PENALISED = ("hd_px", "hd95_px", "assd_px", "hd_mm", "hd95_mm", "assd_mm")
SIZES = ("small", "medium", "large")


def define(judging: Judging) -> dict[str, dict[str, str]]:
    """Name, unit and definition of every number in the summary, with the tolerances that it was
    computed with."""
    texts = dict(DEFINITIONS)
    texts["brier"] = ("Brier score", "", "mean over pixels of (probability - truth) squared")
    texts["ece"] = ("ECE", "", "expected calibration error over pixels, 15 bins of equal width")
    texts["lesion_f1"] = (
        "Lesion F1",
        "",
        "2 found / (2 found + missed + false) over all 8-connected lesions, matched one to one at "
        "an "
        "IoU of {lesion_iou:g} or more",
    )
    texts["volume_dice"] = ("Dice 3-D", "", "Dice over all evaluated slices of a volume at once")
    values = dataclasses.asdict(judging)
    return {
        name: {"name": title, "unit": unit, "definition": text.format(**values)}
        for name, (title, unit, text) in texts.items()
    }


def summarise(rows: Sequence[ScoreRow], *, seed: int = 0) -> dict[str, Any]:
    """method -> its scores over all cases, `by_class`, `by_size` and, where there are any,
    `by_volume`.

    Methods in the order of their first row. Raises: ValueError for no rows.
    """
    if not rows:
        raise ValueError("no case was scored")
    bounds = size_bounds(rows)
    summary: dict[str, Any] = {}
    for method, of_method in by_method(rows).items():
        by_class = _split_by(of_method, lambda row: row.class_name)
        by_size = _split_by(
            [row for row in of_method if row.true_px], lambda row: size_of(row.true_px, bounds)
        )
        summary[method] = {
            **_describe_rows(of_method, seed),
            "by_class": {name: _describe_rows(by_class[name], seed) for name in sorted(by_class)},
            "by_size": {
                name: _describe_rows(by_size[name], seed) for name in SIZES if name in by_size
            },
            "by_volume": _describe_volumes(of_method, seed),
        }
    return summary


def size_bounds(rows: Iterable[ScoreRow]) -> tuple[float, float]:
    """True areas in px that cut the cases with a lesion into thirds; (0, 0) where there is none."""
    areas = {row.case_id: row.true_px for row in rows if row.true_px}
    if not areas:
        return 0.0, 0.0
    low, high = np.quantile(list(areas.values()), [1 / 3, 2 / 3])
    return float(low), float(high)


def size_of(true_px: int, bounds: tuple[float, float]) -> str:
    return SIZES[int(true_px > bounds[0]) + int(true_px > bounds[1])]


def volume_dice(rows: Iterable[ScoreRow]) -> dict[str, tuple[float, str]]:
    """Volume -> (3-D Dice over its slices, group). Rows of one method; slices that stand alone are
    left out."""
    return {
        name: (_pooled_dice(slices), slices[0].group)
        for name, slices in _split_by_volume(rows).items()
    }


def by_volume(rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """A row a volume: its name, number of slices and 3-D Dice a method, worst by the first method
    first."""
    table: dict[str, dict[str, Any]] = {}
    for method, of_method in by_method(rows).items():
        for name, slices in _split_by_volume(of_method).items():
            row = table.setdefault(
                name,
                {"volume": name, "group": slices[0].group, "n_slices": len(slices), "dice": {}},
            )
            row["dice"][method] = _pooled_dice(slices)
    return sorted(table.values(), key=lambda row: (next(iter(row["dice"].values())), row["volume"]))


def _pooled_dice(slices: Sequence[ScoreRow]) -> float:
    tp = sum(row.tp_px for row in slices)
    fp = sum(row.pred_px for row in slices) - tp
    fn = sum(row.true_px for row in slices) - tp
    return Overlap(tp=tp, fp=fp, fn=fn, tn=0).dice


def _split_by_volume(rows: Iterable[ScoreRow]) -> dict[str, list[ScoreRow]]:
    return _split_by([row for row in rows if row.volume], lambda row: row.volume)


def _describe_rows(rows: Sequence[ScoreRow], seed: int) -> dict[str, Any]:
    """Spread of every metric over the rows; distances again over cases where both masks hold
    something."""
    both = [row for row in rows if row.pred_px and row.true_px]
    return {
        "n": len(rows),
        "n_groups": len({row.group for row in rows}),
        "n_with_lesion": sum(row.true_px > 0 for row in rows),
        "n_missed": sum(row.missed for row in rows),
        "n_false": sum(row.false_alarm for row in rows),
        "metrics": _spreads(rows, METRICS, seed),
        "detected_only": {"n": len(both), "metrics": _spreads(both, _PENALISED, seed)},
        "lesions": _describe_lesions(rows, seed),
    }


def _describe_lesions(rows: Sequence[ScoreRow], seed: int) -> dict[str, Any]:
    counts = LesionCounts(
        *(sum(getattr(row.lesions, name) for row in rows) for name in ("found", "missed", "false"))
    )
    parts = [2 * row.lesions_found for row in rows]
    wholes = [2 * row.lesions_found + row.lesions_missed + row.lesions_false for row in rows]
    interval = bootstrap_ratio(parts, wholes, [row.group for row in rows], seed=seed)
    return {**dataclasses.asdict(counts), "f1": counts.f1, "f1_ci95": interval}


def _describe_volumes(rows: Sequence[ScoreRow], seed: int) -> dict[str, Any] | None:
    volumes = volume_dice(rows)
    if not volumes:
        return None
    values, groups = zip(*volumes.values(), strict=True)
    return {"n": len(volumes), "dice": dataclasses.asdict(describe(values, groups, seed=seed))}


def _spreads(rows: Sequence[ScoreRow], names: Sequence[str], seed: int) -> dict[str, Any]:
    spreads = {}
    for name in names:
        known = [(getattr(row, name), row.group) for row in rows if getattr(row, name) is not None]
        # Millimetres are given for all cases or not at all: a mean over those with a spacing is
        # another quantity.
        if known and len(known) == len(rows):
            values, groups = zip(*known, strict=True)
            spreads[name] = dataclasses.asdict(describe(values, groups, seed=seed))
    return spreads


def _split_by(
    rows: Iterable[ScoreRow], key: Callable[[ScoreRow], str]
) -> dict[str, list[ScoreRow]]:
    parts: dict[str, list[ScoreRow]] = {}
    for row in rows:
        parts.setdefault(key(row), []).append(row)
    return parts


def error_budget(
    rows: Sequence[ScoreRow], student: str, teacher: str, boxes: str
) -> dict[str, Any] | None:
    """Where the student's Dice is lost, over the cases with a lesion that all three methods were
    scored on.

    `detector`: what a perfect teacher would lose where no box touches the lesion. `teacher`: what
    else the prompted teacher loses. `student`: what the student loses besides (below 0: won back).
    The three add up to `total` = 1 - the student's mean Dice. None where a method is absent or no
    case has a lesion.

    Args:
        rows: of per_case.csv.
        student: name of the student's method.
        teacher: of the prompted teacher's.
        boxes: of the filled boxes'.
    """
    of = {
        name: {row.case_id: row for row in part if row.true_px}
        for name, part in by_method(rows).items()
    }
    if not {student, teacher, boxes} <= of.keys():
        return None
    shared = sorted(of[student].keys() & of[teacher].keys() & of[boxes].keys())
    if not shared:
        return None
    lost_by_teacher = np.array([1 - of[teacher][case_id].dice for case_id in shared])
    untouched = np.array([of[boxes][case_id].tp_px == 0 for case_id in shared])
    lost = np.array([1 - of[student][case_id].dice for case_id in shared])
    return {
        "n": len(shared),
        "n_untouched": int(untouched.sum()),
        "total": float(lost.mean()),
        "detector": float(np.where(untouched, lost_by_teacher, 0).mean()),
        "teacher": float(np.where(untouched, 0, lost_by_teacher).mean()),
        "student": float((lost - lost_by_teacher).mean()),
    }


def format_table(methods: dict[str, Any], labels: dict[str, str]) -> str:
    """The summary as a few aligned lines that fit a terminal of 80 columns; the last says what the
    methods are."""
    lines = [["", "Dice mean [95 % CI]", "median", "IoU", "HD95 px", "missed", "false alarms"]]
    for method, scores in methods.items():
        metrics = scores["metrics"]
        lines.append(
            [
                method,
                f"{metrics['dice']['mean']:.3f} {format_interval(metrics['dice']['ci95'])}",
                f"{metrics['dice']['median']:.3f}",
                f"{metrics['iou']['mean']:.3f}",
                f"{metrics['hd95_px']['mean']:.1f}",
                f"{scores['n_missed']}/{scores['n_with_lesion']}",
                f"{scores['n_false']}/{scores['n'] - scores['n_with_lesion']}",
            ]
        )
    told = "; ".join(
        f"{method} = {labels[method]}" for method in methods if labels.get(method, method) != method
    )
    return "\n".join(filter(None, [align(lines), told]))


def align(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns: the first flush left, the others right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def format_interval(interval: Sequence[float] | None, digits: int = 3) -> str:
    return (
        "[one group]"
        if interval is None
        else f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    )
