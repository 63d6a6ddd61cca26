"""What is said of several findings when they are prepared: counts, warnings, and what stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.findings import Findings
from meddistill.data.prepare.convert import Converted
from meddistill.data.raw_case import RawCase
from meddistill.run.tables import SPLITS, Case

_NAMES = 6
"""Findings that a line names."""


def refuse_strange_values(cases: Sequence[RawCase], results: Sequence[Converted]) -> None:
    """Raise InputError naming the values of label maps that no finding means, with their pixels and
    the first three files."""
    pixels: dict[str, int] = {}
    files: dict[str, dict[str, None]] = {}
    for case, result in zip(cases, results, strict=True):
        for value, count in result.strange.items():
            source = case.source.partition("#")[0]
            if source not in files.setdefault(value, {}):
                pixels[value] = pixels.get(value, 0) + count
                files[value][source] = None
    if not pixels:
        return
    told = "; ".join(
        f"{value}: {count} px in {len(files[value])} file(s), such as "
        f"{', '.join(list(files[value])[:3])}"
        for value, count in list(pixels.items())[:5]
    )
    raise InputError(
        f"masks hold values that no finding means ({told}); name them in prepare.findings, or as "
        f"background={'+'.join(list(pixels)[:5])}"
    )


def boxes_left_out(pairs: Sequence[tuple[RawCase, Converted]], findings: Findings) -> list[str]:
    """A line on boxes of findings that nobody looked for in their image as its source says, which are
    left out; [] where there are none."""
    left_out: dict[str, int] = {}
    for case, result in pairs:
        known = [bool(looked) for looked in result.looked_for] or [True] * len(findings)
        looked_for = dict(zip(findings.names, known, strict=True))
        count = sum(not looked_for.get(name, True) for name in case.box_findings)
        if count and not findings.is_one and case.boxes_xyxy_px:
            left_out[case.source] = count
    if not left_out:
        return []
    return [
        f"{sum(left_out.values())} boxes of {len(left_out)} images are left out "
        f"({', '.join(list(left_out)[:3])}{', ...' if len(left_out) > 3 else ''}): their source says that "
        "their finding was not looked for there, or not all of it boxed"
    ]


def boxes_of(row: Case, result: Converted, findings: Findings) -> list[int]:
    """How many boxes of each finding a case shows."""
    which = np.array(result.box_findings if row.n_boxes else [], np.int64)
    counts: list[int] = np.bincount(which, minlength=len(findings)).tolist()
    return counts


def refuse_unboxed_findings(
    rows: Sequence[Case], results: Mapping[str, Converted], findings: Findings
) -> None:
    """Raise InputError for those of several findings of which no case of any split has a box."""
    if findings.is_one or not any(row.n_boxes for row in rows):
        return
    found = np.sum([boxes_of(row, results[row.case_id], findings) for row in rows], axis=0)
    without = [name for name, count in zip(findings.names, found, strict=True) if not count]
    others = [name for name in findings.names if name not in without]
    if without:
        several = len(without) > 1
        raise InputError(
            f"finding{'s' * several} {_quoted(without)} ha{'ve' if several else 's'} no box in any of "
            f"{len(rows)} cases; name the others alone (--findings {','.join(others[:_NAMES])}"
            f"{',...' if len(others) > _NAMES else ''}), look at its name and values, or take smaller "
            "areas with --set prepare.min_area_px=1"
        )


def _quoted(names: Sequence[str]) -> str:
    more = len(names) - _NAMES
    shown = ", ".join(f"'{name}'" for name in names[:_NAMES])
    return shown + (f" and {more} more" if more > 0 else "")


def summarise_findings(
    rows: Sequence[Case], results: Mapping[str, Converted], findings: Findings
) -> dict[str, Any]:
    """For run.json: by finding and split the boxes, and the cases with one, without and unknown; {}
    for one finding."""
    if findings.is_one:
        return {}
    told: dict[str, Any] = {name: {} for name in findings.names}
    for split in SPLITS:
        inside = [row for row in rows if row.split == split]
        counts = [boxes_of(row, results[row.case_id], findings) for row in inside]
        for place, name in enumerate(findings.names):
            boxes = [count[place] for count in counts]
            looked = [row.looked_for(name) for row in inside]
            told[name][split] = {
                "boxes": sum(boxes),
                "cases": sum(count > 0 for count in boxes),
                "none": sum(was and not count for was, count in zip(looked, boxes, strict=True)),
                "unknown": sum(not was for was in looked),
            }
    return {"findings": told, "exclusive": findings.exclusive}


def warnings_about_findings(
    rows: Sequence[Case], results: Mapping[str, Converted], findings: Findings
) -> list[str]:
    """A line for each finding that other splits have and training has not."""
    told = summarise_findings(rows, results, findings).get("findings", {})
    return [
        f"finding '{name}' has no box in training, {elsewhere} elsewhere: it cannot be learnt"
        for name, splits in told.items()
        if not splits["train"]["boxes"]
        and (elsewhere := splits["val"]["boxes"] + splits["test"]["boxes"])
    ]
