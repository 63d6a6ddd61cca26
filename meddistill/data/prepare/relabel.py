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
from meddistill.data.findings import SEPARATOR, Findings
from meddistill.data.formats.yolo_labels import write_yolo_label
from meddistill.data.prepare.box_doubts import SLIPS, slips
from meddistill.data.prepare.convert import Converted
from meddistill.data.prepare.counts import NO_MASK, summarise, summarise_boxes, warnings_about
from meddistill.data.prepare.data_page import data_report
from meddistill.data.prepare.duplicates import Duplicate
from meddistill.data.prepare.finding_counts import summarise_findings, warnings_about_findings
from meddistill.data.prepare.naming import FINDINGS_COLUMN
from meddistill.data.prepare.placing import write_lists
from meddistill.data.raw_case import RawCase
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_findings, label_path
from meddistill.run.layout import CASES_CSV, DUPLICATES_CSV, REJECTED_CSV, REPORT_HTML
from meddistill.run.tables import Case, Rejected

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class DrawnImage:
    """What people know of an image. `boxes`: px, half-open, with the finding of each in `names`.
    `looked_for`: names of the findings of which it is known whether they are there. `is_known`:
    whether anything is, where there is one finding, whatever it is called."""

    boxes: tuple[Box, ...] = ()
    names: tuple[str, ...] = ()
    looked_for: tuple[str, ...] = ()
    is_known: bool = True

    def of(self, findings: Findings) -> DrawnImage | None:
        """What of it is about these findings; None where nothing is known of them."""
        if findings.is_one:
            return self if self.is_known else None
        looked = tuple(name for name in findings.names if name in self.looked_for)
        kept = [place for place, name in enumerate(self.names) if name in looked]
        boxes = tuple(self.boxes[place] for place in kept)
        names = tuple(self.names[place] for place in kept)
        return DrawnImage(boxes, names, looked) if looked else None


Drawn = Mapping[str, DrawnImage]
"""By a case's path in the source."""


def with_drawn(cases: Sequence[RawCase], drawn: Drawn, findings: Findings) -> list[RawCase]:
    """The cases with what people drew over what the source says; a mask then serves evaluation
    alone."""
    return [
        _over(case, drawn[case.source].of(findings), findings) if case.source in drawn else case
        for case in cases
    ]


def _over(case: RawCase, known: DrawnImage | None, findings: Findings) -> RawCase:
    case = dataclasses.replace(
        case,
        boxes_xyxy_px=None if known is None else known.boxes,
        unannotated=case.unannotated or known is None,
    )
    if findings.is_one or known is None:
        return case
    columns = {name: value for name, value in case.columns.items() if name != FINDINGS_COLUMN}
    return dataclasses.replace(
        case, box_findings=known.names, looked_for=known.looked_for, columns=columns
    )


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
    findings = read_findings(out)
    warned = _about_findings(out, rows, findings)
    known = {path: image.of(findings) for path, image in drawn.items()}
    new = [
        _relabelled(row, known[row.source], findings) if row.source in drawn else row
        for row in rows
    ]
    boxes = {row.case_id: _boxes(out, row, known, findings) for row in new}
    for row in new:
        if row.source in drawn and row.annotation != "unknown":
            found, which = boxes[row.case_id]
            size_hw = (row.height, row.width)
            write_yolo_label(label_path(out, row), found, size_hw, which.tolist())
    write_table(out / CASES_CSV, Case, new)
    write_lists(out, new, findings)
    for row in new:
        if row.annotation == "unknown":
            label_path(out, row).unlink(missing_ok=True)
    converted = {
        case_id: Converted("", boxes=found.tolist(), box_findings=which.tolist())
        for case_id, (found, which) in boxes.items()
    }
    rejected = read_table(out / REJECTED_CSV, Rejected)
    duplicates = read_table(out / DUPLICATES_CSV, Duplicate)
    before = [*warnings_about(rows, duplicates), *warned]
    kept = [text for text in results.get("warnings", []) if text not in before]
    told = warnings_about_findings(new, converted, findings)
    by_hand = {
        row.source: boxes[row.case_id][0].astype(np.float64)
        for row in new
        if row.annotation == "boxes" and (row.source in drawn or not row.has_mask)
    }
    summary = {
        **results,
        "warnings": _lasting(kept) + warnings_about(new, duplicates) + told + slips(by_hand),
        "boxes": summarise_boxes(new, converted),
        **summarise(new, rejected, results.get("left_out", 0)),
        **summarise_findings(new, converted, findings),
    }
    page = data_report(out, new, converted, rejected, duplicates, summary)
    write_text(out / REPORT_HTML, page)
    return summary


def _lasting(warnings: Sequence[str]) -> list[str]:
    """Which boxes are small beside the others, and what `eval` will judge by, is told anew."""
    return [text for text in warnings if not text.endswith(SLIPS) and not text.startswith(NO_MASK)]


def _relabelled(row: Case, known: DrawnImage | None, findings: Findings) -> Case:
    if known is None:
        return dataclasses.replace(row, annotation="unknown", n_boxes=0, findings="")
    every = findings.is_one or len(known.looked_for) == len(findings)
    return dataclasses.replace(
        row,
        annotation="boxes" if known.boxes else "none",
        n_boxes=len(known.boxes),
        findings="" if every else SEPARATOR.join(known.looked_for),
    )


def _boxes(
    out: Path, row: Case, known: Mapping[str, DrawnImage | None], findings: Findings
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (N, 4) of a case and the place of each one's finding, (N,) int64, in the order of
    the findings."""
    if row.source not in known:
        return annotated_findings(out, row)
    image = known[row.source] or DrawnImage()
    which = np.zeros(len(image.boxes), np.int64)
    if not findings.is_one:
        which = np.array([findings.index(name) for name in image.names], np.int64)
    order = np.argsort(which, kind="stable")
    boxes = np.array(image.boxes, np.float32).reshape(-1, 4)[order]
    return clip_boxes(boxes, (row.height, row.width)), which[order]


def _about_findings(out: Path, rows: Sequence[Case], findings: Findings) -> list[str]:
    """What was warned of before anything is written."""
    if findings.is_one:
        return []
    which = {row.case_id: annotated_findings(out, row)[1] for row in rows}
    before = {case_id: Converted("", box_findings=of.tolist()) for case_id, of in which.items()}
    return warnings_about_findings(rows, before, findings)
