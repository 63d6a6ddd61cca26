"""From a row a case, method and finding to the summary: overall, per class, lesion size and volume,
with intervals by group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from meddistill.evaluation.components import LesionCounts
from meddistill.evaluation.metrics import DEFINITIONS, Overlap
from meddistill.evaluation.scores import Judging, ScoreRow, averaged, by_finding, by_method
from meddistill.evaluation.statistics import bootstrap_ratios, describe_samples

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

    Of several findings these are means of the findings' own scores, which follow as `by_finding`;
    counts are of cases and findings. Methods in the order of their first row. Raises: ValueError
    for no rows.
    """
    if not rows:
        raise ValueError("no case was scored")
    bounds = bounds_by_finding(rows)
    summary: dict[str, Any] = {}
    for method, of_method in by_method(rows).items():
        summary[method] = _describe_all(of_method, bounds, seed)
        parts = by_finding(of_method)
        if any(parts):
            summary[method]["by_finding"] = {
                name: _describe_all(part, bounds, seed) for name, part in parts.items()
            }
    return summary


def _describe_all(
    rows: Sequence[ScoreRow], bounds: Mapping[str, tuple[float, float]], seed: int
) -> dict[str, Any]:
    by_class = _split_by(rows, lambda row: row.class_name)
    by_size = _split_by(
        [row for row in rows if row.true_px], lambda row: size_of(row.true_px, bounds[row.finding])
    )
    return {
        **_describe_rows(rows, seed),
        "by_class": {name: _describe_rows(by_class[name], seed) for name in sorted(by_class)},
        "by_size": {name: _describe_rows(by_size[name], seed) for name in SIZES if name in by_size},
        "by_volume": _describe_volumes(rows, seed),
    }


def bounds_by_finding(rows: Sequence[ScoreRow]) -> dict[str, tuple[float, float]]:
    """`size_bounds` of each finding."""
    return {name: size_bounds(part) for name, part in by_finding(rows).items()}


def size_bounds(rows: Iterable[ScoreRow]) -> tuple[float, float]:
    """True areas in px that cut the cases with a lesion into thirds; (0, 0) where there is none.
    Rows of one finding."""
    areas = {row.case_id: row.true_px for row in rows if row.true_px}
    if not areas:
        return 0.0, 0.0
    low, high = np.quantile(list(areas.values()), [1 / 3, 2 / 3])
    return float(low), float(high)


def size_of(true_px: int, bounds: tuple[float, float]) -> str:
    """The third that a lesion of so many px is in, by the two `bounds` between thirds: of `SIZES`."""
    return SIZES[int(true_px > bounds[0]) + int(true_px > bounds[1])]


def volume_dice(rows: Iterable[ScoreRow]) -> dict[str, tuple[float, str]]:
    """Volume -> (3-D Dice over its slices, group). Rows of one method and finding; slices that
    stand alone are left out, and volumes that have nothing of one of several findings."""
    return {
        name: (_pooled_dice(slices), slices[0].group)
        for name, slices in _split_by_volume(rows).items()
        if not slices[0].finding or any(row.true_px for row in slices)
    }


def by_volume(rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """A row a volume: its name, number of slices and 3-D Dice a method, worst by the first method
    first. Of several findings Dice is the mean over those that the volume has, None where it has
    none, and `by_finding` each one's."""
    table: dict[str, dict[str, Any]] = {}
    for method, of_method in by_method(rows).items():
        found = {name: volume_dice(part) for name, part in by_finding(of_method).items()}
        for name, slices in _split_by_volume(of_method).items():
            own = {finding: dice[name][0] for finding, dice in found.items() if name in dice}
            count = len({row.case_id for row in slices})
            row = table.setdefault(
                name, {"volume": name, "group": slices[0].group, "n_slices": count, "dice": {}}
            )
            row["dice"][method] = float(np.mean(list(own.values()))) if own else None
            if any(found):
                row.setdefault("by_finding", {})[method] = own

    def worst_first(row: dict[str, Any]) -> tuple[float, str]:
        dice = next(iter(row["dice"].values()))
        return (2.0 if dice is None else dice, row["volume"])

    return sorted(table.values(), key=worst_first)


def _pooled_dice(slices: Sequence[ScoreRow]) -> float:
    tp = sum(row.tp_px for row in slices)
    fp = sum(row.pred_px for row in slices) - tp
    fn = sum(row.true_px for row in slices) - tp
    return Overlap(tp=tp, fp=fp, fn=fn, tn=0).dice


def _split_by_volume(rows: Iterable[ScoreRow]) -> dict[str, list[ScoreRow]]:
    return _split_by([row for row in rows if row.volume], lambda row: row.volume)


def _describe_rows(rows: Sequence[ScoreRow], seed: int) -> dict[str, Any]:
    """Spread of every metric over the rows that count (`averaged`); distances again over cases
    where both masks hold something."""
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
    """Counts over all rows; F1 is the mean of the findings that are there."""
    parts = [
        part
        for name, part in by_finding(rows).items()
        if not name or any(row.true_px for row in part)
    ]
    counts = _lesions(rows)
    samples = [
        (
            [2 * row.lesions_found for row in part],
            [2 * row.lesions_found + row.lesions_missed + row.lesions_false for row in part],
            [row.group for row in part],
        )
        for part in parts
    ]
    return {
        **dataclasses.asdict(counts),
        "f1": float(np.mean([_lesions(part).f1 for part in parts])) if parts else counts.f1,
        "f1_ci95": bootstrap_ratios(samples, seed=seed) if parts else None,
    }


def _lesions(rows: Sequence[ScoreRow]) -> LesionCounts:
    return LesionCounts(
        *(sum(getattr(row.lesions, name) for row in rows) for name in ("found", "missed", "false"))
    )


def _describe_volumes(rows: Sequence[ScoreRow], seed: int) -> dict[str, Any] | None:
    found = [volume_dice(part) for part in by_finding(rows).values()]
    samples = [tuple(zip(*dice.values(), strict=True)) for dice in found if dice]
    if not samples:
        return None
    spread = describe_samples(samples, seed=seed)  # type: ignore[arg-type]
    return {"n": len(set().union(*found)), "dice": dataclasses.asdict(spread)}


def _spreads(rows: Sequence[ScoreRow], names: Sequence[str], seed: int) -> dict[str, Any]:
    parts = averaged(rows)
    spreads = {}
    for name in names:
        # Millimetres are given for all cases or not at all: a mean over those with a spacing is
        # another quantity.
        if parts and all(getattr(row, name) is not None for part in parts for row in part):
            samples = [
                ([getattr(row, name) for row in part], [row.group for row in part])
                for part in parts
            ]
            spreads[name] = dataclasses.asdict(describe_samples(samples, seed=seed))
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
    The three add up to `total` = 1 - the student's mean Dice; of several findings they are means of
    the findings' own. None where a method is absent or no case has a lesion.

    Args:
        rows: of per_case.csv.
        student: name of the student's method.
        teacher: of the prompted teacher's.
        boxes: of the filled boxes'.
    """
    budgets = [
        budget
        for part in by_finding(rows).values()
        if (budget := _budget_of_finding(part, student, teacher, boxes)) is not None
    ]
    if not budgets:
        return None
    counts = {name: sum(budget[name] for budget in budgets) for name in ("n", "n_untouched")}
    return counts | {
        name: float(np.mean([budget[name] for budget in budgets]))
        for name in ("total", "detector", "teacher", "student")
    }


def _budget_of_finding(
    rows: Sequence[ScoreRow], student: str, teacher: str, boxes: str
) -> dict[str, Any] | None:
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
