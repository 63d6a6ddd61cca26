"""Figures for who has boxes and no mask: does each annotated box hold a component of the mask, is
there one where nobody drew a box, and does the mask agree with what the teacher makes of the box.

A box is found by the component of a mask whose own box overlaps it: one to one, the largest overlap
first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from meddistill.base.csv_tables import where_used
from meddistill.data.boxes import mask_to_boxes, match_overlaps
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.evaluation.statistics import bootstrap_ratios, describe_samples
from meddistill.evaluation.text_tables import align, format_interval

FOUND_WELL, FOUND_AT_ALL = 0.5, 0.1
"""Overlaps (IoU) from which an annotated box counts as found; below the second a component is
false."""


@dataclasses.dataclass(frozen=True, slots=True)
class BoxScoreRow:
    """One method on one case that has boxes and no mask: a row of per_case_boxes.csv.

    `n_boxes` annotated, of which `found_50` and `found_10` were found at an IoU of .5 and .1;
    `false_boxes`: components of the mask that no annotated box is matched with at .1. `box_iou`:
    mean over the annotated boxes in [0, 1], 0 for one without a component; None where there are
    none. `agreement`: Dice in [0, 1] with the teacher prompted by the annotated boxes; None where
    it was not asked, and where there is no box. `finding`: which of several the row is of; empty
    where there is one.
    """

    case_id: str
    split: str
    group: str
    class_name: str
    method: str
    n_boxes: int
    found_50: int
    found_10: int
    false_boxes: int
    box_iou: float | None
    agreement: float | None
    finding: str = where_used("")


def score_boxes(
    case: JudgedCase,
    method: str,
    boxes: np.ndarray,
    mask: np.ndarray,
    reference: np.ndarray | None,
    finding: str = "",
) -> BoxScoreRow:
    """Judge a mask, bool (H, W), by the boxes of a case.

    Args:
        case: what is judged.
        method: whose mask it is.
        boxes: (N, 4) px, those that people gave.
        mask: the mask.
        reference: bool (H, W), what the teacher makes of the annotated boxes, or None.
        finding: which of several all of these are of.
    """
    found = mask_to_boxes(mask)
    overlaps = match_overlaps(found, boxes)
    matched = int((overlaps >= FOUND_AT_ALL).sum())
    agreement = None
    if reference is not None and len(boxes):
        total = int(mask.sum()) + int(reference.sum())
        agreement = 2 * int((mask & reference).sum()) / total if total else 1.0
    return BoxScoreRow(
        case_id=case.case_id,
        split=case.split,
        group=case.group,
        class_name=case.class_name,
        method=method,
        n_boxes=len(boxes),
        found_50=int((overlaps >= FOUND_WELL).sum()),
        found_10=matched,
        false_boxes=len(found) - matched,
        box_iou=float(overlaps.mean()) if len(boxes) else None,
        agreement=agreement,
        finding=finding,
    )


def summarise_boxes(rows: Sequence[BoxScoreRow], *, seed: int = 0) -> dict[str, Any]:
    """method -> its figures over all cases, in the order of the methods' first rows.

    Shares of boxes and boxes an image are pooled over the cases, with 95 % intervals resampled by
    group (None for one group). `box_iou` is the mean over boxes, `agreement` over the cases that
    have one; None where nothing was boxed, or the teacher was not asked. Of several findings these
    are means of the findings' own, which follow as `by_finding`.
    """
    summary: dict[str, Any] = {}
    for method in dict.fromkeys(row.method for row in rows):
        of_method = [row for row in rows if row.method == method]
        summary[method] = _describe(of_method, seed)
        parts = _by_finding(of_method)
        if any(parts):
            summary[method]["by_finding"] = {
                name: _describe(part, seed) for name, part in parts.items()
            }
    return summary


def _by_finding(rows: Sequence[BoxScoreRow]) -> dict[str, list[BoxScoreRow]]:
    parts: dict[str, list[BoxScoreRow]] = {}
    for row in rows:
        parts.setdefault(row.finding, []).append(row)
    return parts


def _describe(rows: Sequence[BoxScoreRow], seed: int) -> dict[str, Any]:
    findings = _by_finding(rows).values()

    def ratio(
        part: Callable[[BoxScoreRow], float], whole: Callable[[BoxScoreRow], float]
    ) -> dict[str, Any] | None:
        samples = [
            ([part(row) for row in own], [whole(row) for row in own], [row.group for row in own])
            for own in findings
            if sum(whole(row) for row in own)
        ]
        if not samples:
            return None
        means = [sum(parts) / sum(wholes) for parts, wholes, _ in samples]
        interval = bootstrap_ratios(samples, seed=seed)
        return {"mean": float(np.mean(means)), "ci95": interval}

    agreed = [[row for row in own if row.agreement is not None] for own in findings]
    agreement = None
    if any(agreed):
        known = [
            ([row.agreement for row in own], [row.group for row in own]) for own in agreed if own
        ]
        agreement = dataclasses.asdict(describe_samples(known, seed=seed))  # type: ignore[arg-type]
    return {
        "n": len({row.case_id for row in rows}),
        "n_groups": len({row.group for row in rows}),
        "n_boxes": sum(row.n_boxes for row in rows),
        "n_empty": len(
            {row.case_id for row in rows} - {row.case_id for row in rows if row.n_boxes}
        ),
        "box_iou": ratio(lambda row: (row.box_iou or 0.0) * row.n_boxes, lambda row: row.n_boxes),
        "found_50": ratio(lambda row: row.found_50, lambda row: row.n_boxes),
        "found_10": ratio(lambda row: row.found_10, lambda row: row.n_boxes),
        "false_per_image": ratio(lambda row: row.false_boxes, lambda row: 1),
        "agreement": agreement,
    }


BOX_COLUMNS = {
    "box_iou": "box IoU",
    "found_50": "found at IoU .5",
    "found_10": "found at IoU .1",
    "false_per_image": "false boxes an image",
    "agreement": "Dice with the teacher by the true box",
}
"""The figures by boxes, in the order shown, and what a person reads."""


def format_box_table(methods: dict[str, Any], labels: dict[str, str]) -> str:
    """The figures by boxes as a few aligned lines; the last says what the methods are."""
    short = {**BOX_COLUMNS, "agreement": "Dice with teacher"}
    lines = [["", *short.values()]]
    for method, figures in methods.items():
        lines.append([method, *_cells(figures)])
        for finding, own in figures.get("by_finding", {}).items():
            lines.append([f"  {finding}", *_cells(own)])
    told = "; ".join(
        f"{method} = {labels[method]}" for method in methods if labels.get(method, method) != method
    )
    return "\n".join(filter(None, [align(lines), told]))


def _cells(figures: dict[str, Any]) -> list[str]:
    return [_cell(figures[name], with_interval=name == "box_iou") for name in BOX_COLUMNS]


def _cell(figure: dict[str, Any] | None, *, with_interval: bool) -> str:
    if figure is None:
        return "-"
    interval = f" {format_interval(figure['ci95'])}" if with_interval else ""
    return f"{figure['mean']:.3f}{interval}"
