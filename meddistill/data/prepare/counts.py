"""What a prepared data folder holds, in numbers: for run.json, the terminal and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meddistill.data.prepare.convert import Converted
from meddistill.data.prepare.duplicates import Duplicate
from meddistill.data.prepare.own_splits import leak_of, same_pictures
from meddistill.data.sources.walking import RESOURCE_FORK
from meddistill.run.layout import DUPLICATES_CSV, REJECTED_CSV
from meddistill.run.tables import SPLITS, Case, Rejected


def summarise(rows: Sequence[Case], rejected: Sequence[Rejected], left_out: int) -> dict[str, Any]:
    """Counts for run.json and the terminal: by split, by split and class, and of what was rejected
    or left out."""
    splits = {}
    for split in SPLITS:
        members = [row for row in rows if row.split == split]
        annotations = Counter(row.annotation for row in members)
        splits[split] = {
            "cases": len(members),
            "groups": len({row.group for row in members}),
            "boxes": annotations["boxes"],
            "none": annotations["none"],
            "unknown": annotations["unknown"],
            "with_mask": sum(row.has_mask for row in members),
            "classes": dict(
                sorted(Counter(row.class_name for row in members if row.class_name).items())
            ),
        }
    return {"cases": len(rows), "splits": splits, "rejected": len(rejected), "left_out": left_out}


def summarise_boxes(rows: Sequence[Case], results: Mapping[str, Converted]) -> dict[str, Any]:
    """Counts and quartiles of the boxes that are not hidden; {} without any. `results` by case id."""
    boxes_by_size = [
        (results[row.case_id].boxes, row.height, row.width)
        for row in rows
        if row.annotation == "boxes"
    ]
    shares, sides = [], []
    for boxes, height, width in boxes_by_size:
        for x1, y1, x2, y2 in boxes:
            shares.append(100 * (x2 - x1) * (y2 - y1) / (height * width))
            sides.append(max(x2 - x1, y2 - y1))
    if not shares:
        return {}
    quartiles = (0, 25, 50, 75, 100)
    return {
        "boxes": len(shares),
        "cases_with_several": sum(len(boxes) > 1 for boxes, _, _ in boxes_by_size),
        "area_percent": [round(float(value), 3) for value in np.percentile(shares, quartiles)],
        "longest_side_px": [round(float(value), 1) for value in np.percentile(sides, quartiles)],
    }


NO_MASK = "no case has a mask"
"""How the warning of what `eval` will judge by begins."""


def describe(summary: Mapping[str, Any]) -> str:
    """The summary as lines of a table."""
    lines = [
        f"{'':6}{'cases':>7}{'groups':>8}{'boxes':>7}{'none':>6}{'unknown':>9}{'masks':>7}  classes"
    ]
    for split, counts in summary["splits"].items():
        classes = ", ".join(f"{name} {count}" for name, count in counts["classes"].items())
        lines.append(
            f"{split:6}{counts['cases']:7}{counts['groups']:8}{counts['boxes']:7}{counts['none']:6}"
            f"{counts['unknown']:9}{counts['with_mask']:7}  {classes}".rstrip()
        )
    if boxes := summary.get("boxes"):
        lines.append(
            f"{boxes['boxes']} boxes, {boxes['cases_with_several']} cases with several; min, "
            "quartiles and max"
        )
        lines.append(
            "  of the area, % of the image: "
            f"{', '.join(f'{value:g}' for value in boxes['area_percent'])}"
        )
        lines.append(
            "  of the longest side, px: "
            f"{', '.join(f'{value:g}' for value in boxes['longest_side_px'])}"
        )
    splits = summary["splits"]
    if any(splits[split]["unknown"] for split in ("train", "val")):
        drawn = {"training": splits["train"]["boxes"], "validation": splits["val"]["boxes"]}
        if not splits["test"]["with_mask"]:
            drawn["test"] = splits["test"]["boxes"]  # else masks judge, and need no box
        told = ", ".join(f"{count} in {split}" for split, count in drawn.items())
        lines.append(f"kept: boxes on {sum(drawn.values())} images: {told}")
    if summary["rejected"]:
        lines.append(f"rejected: {summary['rejected']} (see {REJECTED_CSV})")
    if summary["left_out"]:
        lines.append(f"left out of the seeded subset: {summary['left_out']}")
    return "\n".join(lines)


def warnings_about(
    rows: Sequence[Case], duplicates: Sequence[Duplicate], to_label: bool = False
) -> list[str]:
    """What a person should know before going on, a line each. `to_label`: boxes are drawn next."""
    warnings = [text for text in (leak_of(rows), same_pictures(rows)) if text]
    if duplicates:
        warnings.append(
            f"{len(duplicates)} pairs of images look the same across splits; see {DUPLICATES_CSV}"
        )
    learnt_from = any(row.annotation == "boxes" for row in rows if row.split == "train")
    if not learnt_from and not to_label:
        warnings.append(
            "no training case has a box: a detector cannot be trained, only taken as it is "
            "(--no-train)"
        )
    if not to_label and not any(row.has_mask for row in rows):
        warnings.append(_judged_by_boxes(rows))
    return warnings


def _judged_by_boxes(rows: Sequence[Case]) -> str:
    """What `eval` judges by where no case has a mask."""
    boxed = Counter(row.split for row in rows if row.annotation == "boxes")
    told = (
        f"{NO_MASK}: `eval` will judge by masks that `label --audit` settles, else by the boxes of the test "
        "cases, which know no outline"
    )
    if boxed["test"]:
        return told
    if any(row.split == "test" for row in rows):
        return f"{told}; none of them has one yet"
    other = next((split for split in ("val", "train") if boxed[split]), "")
    told = f"{NO_MASK}, and there is no test case by whose boxes `eval` would judge"
    return f"{told}; `eval --split {other}` goes by boxes" if other else told


def first_reasons(rejected: Sequence[Rejected]) -> str:
    """The first two rejections and how many more there are, for one line; those of what lies about
    last: that is nobody's problem."""
    first = sorted(rejected, key=lambda row: row.reason == RESOURCE_FORK)[:2]
    text = "; ".join(f"{row.source}: {row.reason}" for row in first)
    return text + (f"; and {len(rejected) - 2} more" if len(rejected) > 2 else "")
