"""What a stage came to, in a few numbers: a stage's last words, and `status`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meddistill.base.errors import InputError

Facts = list[tuple[str, str]]
"""Short label and value, in the order of interest."""


def headline(stage: str, results: Mapping[str, Any]) -> Facts:
    """The numbers of a stage's `results` in run.json that a person asks for first; none for a stage
    not known here.

    Raises: InputError for results that such a stage does not write.
    """
    if stage not in _HEADLINES:
        return []
    try:
        return _HEADLINES[stage](results)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"its results are not those of {stage} ({type(error).__name__}: {error})"
        ) from error


def _prepared(results: Mapping[str, Any]) -> Facts:
    splits = ", ".join(f"{split} {counts['cases']}" for split, counts in results["splits"].items())
    unknown = sum(counts["unknown"] for counts in results["splits"].values())
    facts = [
        ("cases", f"{results['cases']} ({splits})"),
        ("boxes", str(results["boxes"].get("boxes", 0))),
    ]
    if unknown:
        facts.append(("unknown", f"{unknown} cases that nobody looked at"))
    if results["rejected"]:
        facts.append(("rejected", f"{results['rejected']} files"))
    if grid := results.get("grid"):
        side = grid["side_px"]
        facts.append(("pixels", f"{grid['spacing_mm']:g} mm, in {side} x {side} at least"))
    return facts


def _detected(results: Mapping[str, Any]) -> Facts:
    names = {"recall50_val": "recall", "precision50_val": "precision", "map50_val": "mAP50"}
    numbers = [
        f"{name} {results[key]:.3f}" for key, name in names.items() if results[key] is not None
    ]
    facts = [("validation", ", ".join(numbers) or "no annotated case to measure on")]
    cuts = results["confidence"]
    if isinstance(cuts, Mapping):
        told = ", ".join(f"{name} {cut:.3f}" for name, cut in cuts.items())
        return [*facts, ("threshold", told)]
    facts.append(("threshold", f"{cuts:.3f}"))
    if "cases_without_box" in results:
        facts.append(
            ("without a box", f"{results['cases_without_box']} of {results['cases']} cases")
        )
    return facts


def _taught(results: Mapping[str, Any]) -> Facts:
    return [("accepted", f"{results['accepted']} of {results['cases']} targets")]


def _distilled(results: Mapping[str, Any]) -> Facts:
    agreement = results["agreement"]
    left_out = results["cases_without_box"] + results["targets_rejected"]
    return [
        (
            "agreement",
            "no validation case"
            if agreement is None
            else f"{agreement:.3f} with the teacher, validation",
        ),
        ("epoch", f"{results['best_epoch']} of {results['epochs']}"),
        *_unboxed(results),
        (
            "learned from",
            f"{results['train_cases']} cases" + (f", {left_out} left out" if left_out else ""),
        ),
    ]


def _unboxed(results: Mapping[str, Any]) -> Facts:
    believed = results.get("believed")
    if not believed:
        return []
    # An earlier version counted answers that agreed; now all are weighed.
    answered = believed.get("answer", believed.get("head", 0) + believed.get("student", 0))
    total = sum(believed.values())
    more = results.get("more_boxes", {}).get("told")
    return [
        ("unboxed", f"the teacher answered proposals on {answered} of {total}"),
        *([("more boxes", more)] if more else []),
    ]


def _evaluated(results: Mapping[str, Any]) -> Facts:
    by_boxes = _by_boxes(results.get("by_boxes", {}).get("student"))
    if not results["dice"]:
        return by_boxes or [("Dice", "no true mask to judge by")]
    counts = {scores["n"] for scores in results["dice"].values()}
    means = ", ".join(
        f"{method} {scores['mean']:.3f}" for method, scores in results["dice"].items()
    )
    facts = [("Dice", means), ("cases", str(results.get("cases", max(counts))))]
    if "student_by_finding" in results:
        told = (
            f"{name} {scores['mean']:.3f}" for name, scores in results["student_by_finding"].items()
        )
        facts.insert(1, ("student's, by finding", ", ".join(told)))
    return [*facts, *by_boxes]


def _by_boxes(student: Mapping[str, Any] | None) -> Facts:
    """What the student does on cases that have boxes and no mask."""
    if student is None:
        return []
    facts = [("images with boxes alone", f"{student['n']}, {student['n_boxes']} boxes")]
    if student["box_iou"] is not None:
        well, at_all = student["found_50"]["mean"], student["found_10"]["mean"]
        found = f"found {well:.0%} at .5, {at_all:.0%} at .1"
        facts.append(("box IoU", f"{student['box_iou']['mean']:.3f} ({found})"))
    facts.append(("false boxes", f"{student['false_per_image']['mean']:.2f} an image"))
    if student["agreement"] is not None:
        told = f"Dice {student['agreement']['mean']:.3f} with the teacher by the true box"
        facts.append(("agreement", told))
    return facts


def _predicted(results: Mapping[str, Any]) -> Facts:
    return [("lesion in", f"{results['with_lesion']} of {results['images']} images")]


_HEADLINES: dict[str, Callable[[Mapping[str, Any]], Facts]] = {
    "prepare": _prepared,
    "detect": _detected,
    "teacher": _taught,
    "distill": _distilled,
    "eval": _evaluated,
    "predict": _predicted,
}
