"""Pictures of cases that were evaluated: mask and overlay of each, and the report's gallery, worst
first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import write_palette_png, write_png
from meddistill.data.overlays import side_by_side, with_legend
from meddistill.evaluation.answers import AnsweredCase, Methods
from meddistill.evaluation.baselines import STUDENT
from meddistill.evaluation.report.gallery import GalleryItem, choose_cases, make_item
from meddistill.evaluation.scores import ScoreRow, case_dice
from meddistill.evaluation.verdict import Verdict


def draw_case(answered: AnsweredCase, findings: Findings, out: Path) -> None:
    """masks/ID.png and overlays/ID.png below `out`: the student's mask, and beside it the truth."""
    name = f"{answered.case.case_id}.png"
    pred = answered.guesses[STUDENT].masks
    labels = findings.encode(pred)
    if findings.is_one or labels.dtype != np.uint8:
        write_png(out / "masks" / name, labels)
    else:
        names = ", ".join(findings.names)
        write_palette_png(out / "masks" / name, labels, findings.palette(), names)
    picture = side_by_side(answered.image, pred, answered.truth, findings.colours)
    shown = pred if answered.truth is None else pred | answered.truth
    there = np.flatnonzero(shown.any(axis=(1, 2))).tolist()
    write_png(out / "overlays" / name, with_legend(picture, findings, there))


def gallery(verdict: Verdict, methods: Methods) -> Iterator[GalleryItem]:
    """The chosen cases, worst first, predicted once more: keeping all probabilities would not
    scale."""
    by_id = {case.case_id: case for case in verdict.done}
    chosen = choose_cases(_worth(verdict), methods.config.gallery_cases)
    for answered in methods.answer([by_id[case_id] for case_id in chosen], []):
        yield make_item(answered, verdict.rows_of(answered.case), methods.findings)


def _worth(verdict: Verdict) -> dict[str, float]:
    """By which the gallery is ordered: the student's Dice, else how its boxes overlap; 0 for all
    where nothing is known."""
    rows: dict[str, list[ScoreRow]] = {}
    for row in verdict.rows:
        if row.method == STUDENT:
            rows.setdefault(row.case_id, []).append(row)
    overlaps: dict[str, list[float]] = {}
    for box_row in verdict.box_rows:
        if box_row.method == STUDENT:
            empty = 0.0 if box_row.false_boxes else 1.0
            overlap = empty if box_row.box_iou is None else box_row.box_iou
            overlaps.setdefault(box_row.case_id, []).append(overlap)
    if rows:
        return {case_id: case_dice(own) for case_id, own in rows.items()}
    if overlaps:
        return {case_id: sum(own) / len(own) for case_id, own in overlaps.items()}
    return {case.case_id: 0.0 for case in verdict.done}
