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

from meddistill.data.boxes import mask_to_boxes, match_overlaps
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.evaluation.statistics import bootstrap_ratio, describe
from meddistill.evaluation.summary import align, format_interval

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
    it was not asked, and where there is no box.
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


def score_boxes(
    case: JudgedCase, method: str, mask: np.ndarray, reference: np.ndarray | None
) -> BoxScoreRow:
    """Judge a mask, bool (H, W), by the boxes of a case.

    Args:
        case: what is judged; its `boxes` are known.
        method: whose mask it is.
        mask: the mask.
        reference: bool (H, W), what the teacher makes of the annotated boxes, or None.
    """
    boxes = np.zeros((0, 4), np.float32) if case.boxes is None else case.boxes
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
    )


def summarise_boxes(rows: Sequence[BoxScoreRow], *, seed: int = 0) -> dict[str, Any]:
    """method -> its figures over all cases, in the order of the methods' first rows.

    Shares of boxes and boxes an image are pooled over the cases, with 95 % intervals resampled by
    group (None for one group). `box_iou` is the mean over boxes, `agreement` over the cases that
    have one; None where nothing was boxed, or the teacher was not asked.
    """
    methods = dict.fromkeys(row.method for row in rows)
    return {name: _describe([row for row in rows if row.method == name], seed) for name in methods}


def _describe(rows: Sequence[BoxScoreRow], seed: int) -> dict[str, Any]:
    def ratio(
        part: Callable[[BoxScoreRow], float], whole: Callable[[BoxScoreRow], float]
    ) -> dict[str, Any] | None:
        parts, wholes = [part(row) for row in rows], [whole(row) for row in rows]
        if not sum(wholes):
            return None
        groups = [row.group for row in rows]
        interval = bootstrap_ratio(parts, wholes, groups, seed=seed)
        return {"mean": sum(parts) / sum(wholes), "ci95": interval}

    agreed = [(row.agreement, row.group) for row in rows if row.agreement is not None]
    agreement = None
    if agreed:
        values, groups = zip(*agreed, strict=True)
        agreement = dataclasses.asdict(describe(values, groups, seed=seed))
    return {
        "n": len(rows),
        "n_groups": len({row.group for row in rows}),
        "n_boxes": sum(row.n_boxes for row in rows),
        "n_empty": sum(row.n_boxes == 0 for row in rows),
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
        cells = [_cell(figures[name], with_interval=name == "box_iou") for name in BOX_COLUMNS]
        lines.append([method, *cells])
    told = "; ".join(
        f"{method} = {labels[method]}" for method in methods if labels.get(method, method) != method
    )
    return "\n".join(filter(None, [align(lines), told]))


def _cell(figure: dict[str, Any] | None, *, with_interval: bool) -> str:
    if figure is None:
        return "-"
    interval = f" {format_interval(figure['ci95'])}" if with_interval else ""
    return f"{figure['mean']:.3f}{interval}"
