"""What the report shows of what the student says of itself: charts and a table of flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meddistill.evaluation.report import charts


def of_itself(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """`findings`: a finding each its name ('' of one), sentences and charts; `flags` by set of images,
    `fitted_on`. None for a student that says nothing of itself."""
    told = summary.get("of_itself")
    if told is None:
        return None
    return {
        "fitted_on": told["fitted_on"],
        "flags": {name: {"auroc": None, **of} for name, of in told["flags"].items()},
        "findings": [
            {
                "name": name,
                "sentences": told["sentences"][name],
                "reliability": _reliability(of["calibration"]["around"]),
                "around": of["calibration"]["around"],
                "all": of["calibration"]["all"],
                "risk": _risk(of["curves"]),
                "rejection": of["rejection"],
                "froc": _froc(of["froc"]),
                "at": (of["present"] or {}).get("at", []),
            }
            for name, of in told["by_finding"].items()
        ],
    }


def _reliability(around: Mapping[str, Any]) -> str:
    before, after = (around[when]["curve"] for when in ("before", "after"))
    return charts.curve(
        charts.Line(after["prob"], after["share"], dots=True),
        x_label="probability given by the student",
        y_label="share that is lesion",
        title="Reliability around lesions, before and after calibration",
        diagonal=True,
        others=[charts.Line(before["prob"], before["share"], css="boxes", dots=True)],
    )


def _risk(curves: Mapping[str, Any] | None) -> str | None:
    if curves is None:
        return None
    at = curves["coverage"]
    return charts.curve(
        charts.Line(at, curves["expected"]),
        x_label="share of the images that is kept, the surest first",
        y_label="1 - Dice, mean over those",
        title="Risk by coverage",
        others=[
            charts.Line(at, curves["oracle"], css="boxes thin"),
            charts.Line(at, curves["confidence"], css="other"),
        ],
    )


def _froc(points: Mapping[str, Any] | None) -> str | None:
    if points is None:
        return None
    return charts.curve(
        charts.Line(points["false_per_image"], points["sensitivity"]),
        x_label="false lesions an image",
        y_label="share of lesions found",
        title="Lesions found by false alarms (FROC)",
    )
