"""Two sets of scores on the same cases, case by case; and several evaluations taken together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meddistill.base.errors import InputError
from meddistill.evaluation.scores import ScoreRow, averaged, by_finding, by_method
from meddistill.evaluation.statistics import compare_samples
from meddistill.evaluation.summary import summarise
from meddistill.evaluation.text_tables import align, format_interval

COMPARED = (
    "dice",
    "iou",
    "sensitivity",
    "precision",
    "nsd_px",
    "hd95_px",
    "assd_px",
    "hd95_mm",
    "assd_mm",
)
"""Metrics that are compared; of the distances less is better."""


def compare(
    first: Sequence[ScoreRow], second: Sequence[ScoreRow], *, seed: int = 0
) -> dict[str, Any]:
    """Paired differences first - second over the cases that both have, in all and per class (Dice).

    Of several findings these are means of the findings' own, over the cases that have each, and
    `dice_by_finding` follows; what one side did not judge is left out. Rows of one method each.
    Raises: InputError where they share no case and finding, or a case's truth or group is not the
    same.
    """
    of_first, of_second = (
        {(row.case_id, row.finding): row for row in rows} for rows in (first, second)
    )
    shared = sorted(of_first.keys() & of_second.keys())
    if not shared:
        raise InputError(
            "the two evaluations share no case" + _and_no_finding(first, second) + "; compare two "
            "of the same split"
        )
    pairs = {key: (of_first[key], of_second[key]) for key in shared}
    for a, b in pairs.values():
        if (a.true_px, a.group) != (b.true_px, b.group):
            raise InputError(
                f"case {a.case_id} has a true mask of {a.true_px} px in group '{a.group}' in one "
                "evaluation and "
                f"{b.true_px} px in '{b.group}' in the other: not the same data"
            )
    rows = [a for a, _ in pairs.values()]
    others = {key: b for key, (_, b) in pairs.items()}
    found = {
        "n": len({row.case_id for row in rows}),
        "n_only_first": _cases_beside(first, rows),
        "n_only_second": _cases_beside(second, rows),
        "metrics": {
            name: each for name in COMPARED if (each := _difference(rows, others, name, seed))
        },
        "dice_by_class": {
            name: each
            for name in sorted({row.class_name for row in rows})
            if (
                each := _difference(
                    [row for row in rows if row.class_name == name], others, "dice", seed
                )
            )
        },
    }
    parts = by_finding(rows)
    if any(parts):
        found["dice_by_finding"] = {
            name: each
            for name, part in parts.items()
            if (each := _difference(part, others, "dice", seed))
        }
    return found


def _and_no_finding(first: Sequence[ScoreRow], second: Sequence[ScoreRow]) -> str:
    told = [", ".join(filter(None, by_finding(rows))) for rows in (first, second)]
    return f" and finding ({told[0] or 'one'}; {told[1] or 'one'})" if any(told) else ""


def _cases_beside(rows: Sequence[ScoreRow], shared: Sequence[ScoreRow]) -> int:
    return len({row.case_id for row in rows} - {row.case_id for row in shared})


def _difference(
    rows: Sequence[ScoreRow], others: Mapping[tuple[str, str], ScoreRow], name: str, seed: int
) -> dict[str, Any] | None:
    """Of a metric; None where a case lacks it, or no case has a finding."""
    parts = averaged(rows)
    first = [[getattr(row, name) for row in part] for part in parts]
    second = [[getattr(others[row.case_id, row.finding], name) for row in part] for part in parts]
    if not parts or any(None in values for values in (*first, *second)):
        return None
    groups = [[row.group for row in part] for part in parts]
    paired = compare_samples(list(zip(first, second, groups, strict=True)), seed=seed)
    means = {
        "mean_first": float(np.mean([np.mean(values) for values in first])),
        "mean_second": float(np.mean([np.mean(values) for values in second])),
    }
    return means | dataclasses.asdict(paired)


def format_comparison(
    comparison: dict[str, Any], definitions: Mapping[str, tuple[str, str, str]]
) -> str:
    """The comparison as aligned lines for the terminal."""
    lines = [["", "A", "B", "A - B [95 % CI]", "Wilcoxon p", "A higher", "A lower"]]
    entries = {_title(definitions[name]): found for name, found in comparison["metrics"].items()}
    if len(comparison["dice_by_class"]) > 1:
        entries |= {
            f"Dice, {name or 'no class'}": found
            for name, found in comparison["dice_by_class"].items()
        }
    entries |= {
        f"Dice, {name}": found for name, found in comparison.get("dice_by_finding", {}).items()
    }
    for title, found in entries.items():
        digits = 2 if found["mean_first"] > 2 or found["mean_second"] > 2 else 3
        lines.append(
            [
                title,
                f"{found['mean_first']:.{digits}f}",
                f"{found['mean_second']:.{digits}f}",
                f"{found['mean']:+.{digits}f} {format_interval(found['ci95'], digits)}",
                f"{found['p_wilcoxon']:.2g}",
                str(found["n_better"]),
                str(found["n_worse"]),
            ]
        )
    return align(lines)


def _title(definition: tuple[str, str, str]) -> str:
    name, unit, _ = definition
    return f"{name} {unit}".strip()


def aggregate(runs: Mapping[str, Sequence[ScoreRow]], *, seed: int = 0) -> dict[str, Any]:
    """Evaluations of several RUNs (the folds of a cross-validation, or several seeds) as one.

    `pooled`: as one evaluation's summary, over all rows; a group that several runs tested stays one
    group. `per_run`: run -> method -> mean Dice (of several findings the mean of theirs) and
    cases. `between_runs`: method -> mean and
    standard deviation (n - 1) of the runs' mean Dice, over the runs that have the method; 0 for one
    run. `n_repeated`: cases that more than one run tested.
    """
    per_run: dict[str, dict[str, Any]] = {}
    for name, rows in runs.items():
        per_run[name] = {
            method: {"n": len({row.case_id for row in part}), "dice": _mean_dice(part)}
            for method, part in by_method(rows).items()
            if averaged(part)
        }
    rows = [row for part in runs.values() for row in part]
    means: dict[str, list[float]] = {}
    for methods in per_run.values():
        for method, found in methods.items():
            means.setdefault(method, []).append(found["dice"])
    tested = [case_id for part in runs.values() for case_id in {row.case_id for row in part}]
    return {
        "runs": list(runs),
        "n_cases": len(set(tested)),
        "n_repeated": len(tested) - len(set(tested)),
        "per_run": per_run,
        "between_runs": {
            method: {
                "n": len(values),
                "mean": float(np.mean(values)),
                "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
            }
            for method, values in means.items()
        },
        "pooled": summarise(rows, seed=seed),
    }


def _mean_dice(rows: Sequence[ScoreRow]) -> float:
    return float(np.mean([np.mean([row.dice for row in part]) for part in averaged(rows)]))
