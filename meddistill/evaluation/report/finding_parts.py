"""What the report shows of several findings: a table of them, which was found as which, the
detector's figures for each, and their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meddistill.data.findings import Findings
from meddistill.evaluation.baselines import STUDENT
from meddistill.evaluation.report import charts
from meddistill.evaluation.scores import ScoreRow, averaged

NOT_FOUND, NOTHING = "not found", "nothing there"


def findings_of(summary: Mapping[str, Any]) -> Findings | None:
    """The findings of a summary; None where there is one."""
    return Findings.from_dict(summary["findings"]) if "findings" in summary else None


def css_of(findings: Findings | None) -> str:
    """A class a finding, `f0` and on: its colour as `--f`, and as `--c` for charts, where it must
    stand out from the page."""
    if findings is None:
        return ""
    colours = findings.as_dict()["colours"]
    return "\n".join(
        f".f{place} {{ --f: {colour}; --c: color-mix(in srgb, {colour} 72%, var(--ink)); }}"
        for place, colour in enumerate(colours)
    )


def rows_by_finding(summary: Mapping[str, Any], findings: Findings | None) -> list[dict[str, Any]]:
    """A row a finding that was judged: its place, name, and by method its Dice (None where no case
    has it), missed, false alarms and 3-D Dice."""
    by_finding = summary["methods"].get(STUDENT, {}).get("by_finding", {})
    return [
        {
            "name": name,
            "place": findings.index(name),
            "n": own["n_with_lesion"],
            "cells": {
                method: _cell(scores["by_finding"][name], method)
                for method, scores in summary["methods"].items()
            },
        }
        for name, own in by_finding.items()
        if findings is not None
    ]


def _cell(scores: Mapping[str, Any], method: str) -> dict[str, Any]:
    dice = scores["metrics"].get("dice")
    volumes = scores["by_volume"]
    return {
        "dice": dice,
        "svg": dice and charts.interval(dice["mean"], dice["ci95"], css=method),
        "missed": f"{scores['n_missed']} of {scores['n_with_lesion']}",
        "false": f"{scores['n_false']} of {scores['n'] - scores['n_with_lesion']}",
        "volume_dice": volumes and volumes["dice"]["mean"],
    }


def strips_by_finding(rows: Sequence[ScoreRow], findings: Findings | None) -> list[dict[str, Any]]:
    """The student's Dice of each finding, over the cases that have it."""
    if findings is None:
        return []
    series = [
        charts.Series(
            part[0].finding,
            f"finding f{findings.index(part[0].finding)}",
            [row.dice for row in part],
            [row.case_id for row in part],
        )
        for part in averaged([row for row in rows if row.method == STUDENT])
    ]
    if not series:
        return []
    title = "Dice of the student by finding"
    return [{"title": title, "svg": charts.strips(series, low=0.0, high=1.0, title=title)}]


def confusion(summary: Mapping[str, Any], findings: Findings | None) -> dict[str, Any] | None:
    """The student's table: lesions of a finding (rows) by what they were found as. None where there
    is one finding, or nothing was judged by masks."""
    counts = summary.get("confusion", {}).get(STUDENT)
    if findings is None or counts is None:
        return None
    return {
        "columns": [*findings.names, NOT_FOUND],
        "rows": [
            {
                "name": name,
                "place": place,
                "cells": [
                    {"n": n, "share": n / (sum(row) or 1), "right": place == column}
                    for column, n in enumerate(row)
                ],
            }
            for place, (name, row) in enumerate(
                zip([*findings.names, NOTHING], counts, strict=True)
            )
        ],
        "n_other": sum(
            n
            for place, row in enumerate(counts[:-1])
            for column, n in enumerate(row[:-1])
            if place != column
        ),
    }


def reliability_lines(summary: Mapping[str, Any], findings: Findings | None) -> list[charts.Line]:
    """A curve a finding, near its lesions."""
    near = (summary["calibration"] or {}).get("near_by_finding", {})
    return [
        charts.Line(
            found["curve"]["prob"], found["curve"]["share"], css=f"thin f{findings.index(name)}"
        )
        for name, found in near.items()
        if findings is not None
    ]


def detector_by_finding(metrics: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    """Of a detector that knows several: recall and precision on validation, recall on the split
    that is judged, threshold, by finding."""
    return [
        {
            "name": name,
            "recall": own["recall50_val"],
            "precision": own["precision50_val"],
            "recall_here": own["splits"].get(split, {}).get("recall50"),
            "confidence": own["confidence"],
        }
        for name, own in (metrics.get("findings") or {}).items()
    ]
