"""Two sets of scores on the same cases, case by case; and several evaluations taken together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meddistill.base.errors import InputError
from meddistill.evaluation.scores import ScoreRow, by_method
from meddistill.evaluation.statistics import compare_paired
from meddistill.evaluation.summary import align, format_interval, summarise

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

    Rows of one method each. Raises: InputError where they share no case, or a case's truth or group
    is not the same.
    """
    of_first, of_second = ({row.case_id: row for row in rows} for rows in (first, second))
    shared = sorted(of_first.keys() & of_second.keys())
    if not shared:
        raise InputError("the two evaluations share no case; compare two of the same split")
    pairs = [(of_first[case_id], of_second[case_id]) for case_id in shared]
    for a, b in pairs:
        if (a.true_px, a.group) != (b.true_px, b.group):
            raise InputError(
                f"case {a.case_id} has a true mask of {a.true_px} px in group '{a.group}' in one "
                "evaluation and "
                f"{b.true_px} px in '{b.group}' in the other: not the same data"
            )
    classes = sorted({a.class_name for a, _ in pairs})
    return {
        "n": len(pairs),
        "n_only_first": len(of_first) - len(pairs),
        "n_only_second": len(of_second) - len(pairs),
        "metrics": {name: found for name in COMPARED if (found := _difference(pairs, name, seed))},
        "dice_by_class": {
            name: _difference([pair for pair in pairs if pair[0].class_name == name], "dice", seed)
            for name in classes
        },
    }


def _difference(
    pairs: Sequence[tuple[ScoreRow, ScoreRow]], name: str, seed: int
) -> dict[str, Any] | None:
    first, second = ([getattr(pair[side], name) for pair in pairs] for side in (0, 1))
    if None in first or None in second:
        return None
    paired = compare_paired(first, second, [a.group for a, _ in pairs], seed=seed)
    means = {"mean_first": float(np.mean(first)), "mean_second": float(np.mean(second))}
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
    group. `per_run`: run -> method -> mean Dice and cases. `between_runs`: method -> mean and
    standard deviation (n - 1) of the runs' mean Dice, over the runs that have the method; 0 for one
    run. `n_repeated`: cases that more than one run tested.
    """
    per_run: dict[str, dict[str, Any]] = {}
    for name, rows in runs.items():
        per_run[name] = {
            method: {"n": len(part), "dice": float(np.mean([row.dice for row in part]))}
            for method, part in by_method(rows).items()
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
