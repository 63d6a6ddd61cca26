"""From a row a case and method to the summary: overall, per class, per lesion size, with intervals by group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from meddistill.evaluation.metrics import DEFINITIONS, CaseScores
from meddistill.evaluation.statistics import describe
from meddistill.evaluation.subjects import Subject

_PENALISED = ("hd_px", "hd95_px", "assd_px", "hd_mm", "hd95_mm", "assd_mm")
SIZES = ("small", "medium", "large")


@dataclasses.dataclass(frozen=True, slots=True)
class ScoreRow:
    """One method's scores on one case: a row of per_case.csv. Units and empties: `evaluation/metrics.py`."""

    case_id: str
    split: str
    group: str
    class_name: str
    method: str
    dice: float
    iou: float
    sensitivity: float
    precision: float
    specificity: float
    hd_px: float
    hd95_px: float
    assd_px: float
    nsd_px: float
    hd_mm: float | None
    hd95_mm: float | None
    assd_mm: float | None
    nsd_mm: float | None
    area_error: float
    missed: bool
    false_alarm: bool
    tp_px: int
    pred_px: int
    true_px: int


def score_row(subject: Subject, method: str, scores: CaseScores) -> ScoreRow:
    overlap = scores.overlap
    return ScoreRow(
        subject.case_id, subject.split, subject.group, subject.class_name, method, **scores.values(),  # type: ignore[arg-type]
        missed=scores.missed, false_alarm=scores.false_alarm,
        tp_px=overlap.tp, pred_px=overlap.tp + overlap.fp, true_px=overlap.tp + overlap.fn,
    )  # fmt: skip


def summarise(rows: Sequence[ScoreRow], *, seed: int = 0) -> dict[str, Any]:
    """method -> its scores over all cases, `by_class` and `by_size`; methods in the order of their first row.

    Raises: ValueError for no rows.
    """
    if not rows:
        raise ValueError("no case was scored")
    bounds = size_bounds(rows)
    summary: dict[str, Any] = {}
    for method, of_method in _split_by(rows, lambda row: row.method).items():
        by_class = _split_by(of_method, lambda row: row.class_name)
        by_size = _split_by([row for row in of_method if row.true_px], lambda row: size_of(row.true_px, bounds))
        summary[method] = {
            **_describe_rows(of_method, seed),
            "by_class": {name: _describe_rows(by_class[name], seed) for name in sorted(by_class)},
            "by_size": {name: _describe_rows(by_size[name], seed) for name in SIZES if name in by_size},
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


def _describe_rows(rows: Sequence[ScoreRow], seed: int) -> dict[str, Any]:
    """Spread of every metric over the rows; distances again over cases where both masks hold something."""
    both = [row for row in rows if row.pred_px and row.true_px]
    return {
        "n": len(rows),
        "n_groups": len({row.group for row in rows}),
        "n_missed": sum(row.missed for row in rows),
        "n_false": sum(row.false_alarm for row in rows),
        "metrics": _spreads(rows, tuple(DEFINITIONS), seed),
        "detected_only": {"n": len(both), "metrics": _spreads(both, _PENALISED, seed)},
    }


def _spreads(rows: Sequence[ScoreRow], names: Sequence[str], seed: int) -> dict[str, Any]:
    spreads = {}
    for name in names:
        known = [(getattr(row, name), row.group) for row in rows if getattr(row, name) is not None]
        # Millimetres are given for all cases or not at all: a mean over those with a spacing is another quantity.
        if known and len(known) == len(rows):
            values, groups = zip(*known, strict=True)
            spreads[name] = dataclasses.asdict(describe(values, groups, seed=seed))
    return spreads


def _split_by(rows: Iterable[ScoreRow], key: Callable[[ScoreRow], str]) -> dict[str, list[ScoreRow]]:
    parts: dict[str, list[ScoreRow]] = {}
    for row in rows:
        parts.setdefault(key(row), []).append(row)
    return parts


def format_table(methods: dict[str, Any], labels: dict[str, str]) -> str:
    """The summary as a few aligned lines for the terminal."""
    head = ["", "Dice mean [95 % CI]", "median", "IoU", "HD95 px", "missed", "false alarms"]
    lines = [head]
    for method, scores in methods.items():
        metrics = scores["metrics"]
        lines.append(
            [
                labels.get(method, method),
                f"{metrics['dice']['mean']:.3f} {format_interval(metrics['dice']['ci95'])}",
                f"{metrics['dice']['median']:.3f}",
                f"{metrics['iou']['mean']:.3f}",
                f"{metrics['hd95_px']['mean']:.1f}",
                f"{scores['n_missed']}/{scores['n']}",
                f"{scores['n_false']}",
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def format_interval(interval: Sequence[float] | None, digits: int = 3) -> str:
    return "[one group]" if interval is None else f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
