"""Boxes that people drew, taken over into RUN/data as it is: no image is read or made again, and the
source need not be on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.files import write_text
from meddistill.data.boxes import clip_boxes
from meddistill.data.formats.yolo_labels import write_yolo_label
from meddistill.data.prepare.convert import Converted
from meddistill.data.prepare.counts import summarise, summarise_boxes, warnings_about
from meddistill.data.prepare.data_page import data_report
from meddistill.data.prepare.duplicates import Duplicate
from meddistill.data.prepare.placing import write_lists
from meddistill.data.raw_case import RawCase
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_boxes, label_path
from meddistill.run.layout import CASES_CSV, DUPLICATES_CSV, REJECTED_CSV, REPORT_HTML
from meddistill.run.tables import Case, Rejected

Drawn = Mapping[str, tuple[tuple[float, float, float, float], ...] | None]
"""Boxes by a case's path in the source, px, half-open; () for nothing there, None for unknown."""


def with_drawn(cases: Sequence[RawCase], drawn: Drawn) -> list[RawCase]:
    """The cases with what people drew over what the source says; a mask then serves evaluation
    alone."""
    return [
        dataclasses.replace(
            case,
            boxes_xyxy_px=drawn[case.source],
            unannotated=case.unannotated or drawn[case.source] is None,
        )
        if case.source in drawn
        else case
        for case in cases
    ]


def relabel(
    out: Path, rows: Sequence[Case], drawn: Drawn, results: Mapping[str, Any]
) -> dict[str, Any]:
    """Write what people drew into RUN/data: labels, tables, lists and report. Returns what run.json
    is to say now.

    A kill on the way leaves run.json as it was, so that the same command does it again.

    Args:
        out: RUN/data, finished.
        rows: of its cases.csv.
        drawn: what people drew; cases that are not in it stay as they are.
        results: of its run.json.
    """
    new = [_relabelled(row, drawn[row.source]) if row.source in drawn else row for row in rows]
    boxes = {row.case_id: _boxes(out, row, drawn) for row in new}
    for row in new:
        if row.source in drawn and row.annotation != "unknown":
            write_yolo_label(label_path(out, row), boxes[row.case_id], (row.height, row.width))
    write_table(out / CASES_CSV, Case, new)
    write_lists(out, new, read_findings(out))
    for row in new:
        if row.annotation == "unknown":
            label_path(out, row).unlink(missing_ok=True)
    converted = {case_id: Converted("", boxes=found.tolist()) for case_id, found in boxes.items()}
    rejected = read_table(out / REJECTED_CSV, Rejected)
    duplicates = read_table(out / DUPLICATES_CSV, Duplicate)
    before = warnings_about(rows, duplicates)
    kept = [text for text in results.get("warnings", []) if text not in before]
    summary = {
        **results,
        "warnings": kept + warnings_about(new, duplicates),
        "boxes": summarise_boxes(new, converted),
        **summarise(new, rejected, results.get("left_out", 0)),
    }
    page = data_report(out, new, converted, rejected, duplicates, summary)
    write_text(out / REPORT_HTML, page)
    return summary


def _relabelled(row: Case, boxes: tuple[Any, ...] | None) -> Case:
    annotation = "unknown" if boxes is None else "boxes" if boxes else "none"
    return dataclasses.replace(row, annotation=annotation, n_boxes=len(boxes or ()))


def _boxes(out: Path, row: Case, drawn: Drawn) -> np.ndarray:
    found = drawn.get(row.source)
    if row.source in drawn:
        plain = np.array(found or (), np.float32).reshape(-1, 4)
        return clip_boxes(plain, (row.height, row.width))
    return annotated_boxes(out, row)
