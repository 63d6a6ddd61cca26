"""What a prepared data folder holds, in numbers: for run.json, the terminal and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from meddistill.artifacts import REJECTED_CSV, SPLITS, Case, Rejected


def summarise(rows: Sequence[Case], rejected: Sequence[Rejected], left_out: int) -> dict[str, Any]:
    """Counts for run.json and the terminal: by split, by split and class, and of what was rejected or left out."""
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
            "classes": dict(sorted(Counter(row.class_name for row in members if row.class_name).items())),
        }
    return {"cases": len(rows), "splits": splits, "rejected": len(rejected), "left_out": left_out}


def describe(summary: Mapping[str, Any]) -> str:
    """The summary as lines of a table."""
    lines = [f"{'':6}{'cases':>7}{'groups':>8}{'boxes':>7}{'none':>6}{'unknown':>9}{'masks':>7}  classes"]
    for split, counts in summary["splits"].items():
        classes = ", ".join(f"{name} {count}" for name, count in counts["classes"].items())
        lines.append(
            f"{split:6}{counts['cases']:7}{counts['groups']:8}{counts['boxes']:7}{counts['none']:6}"
            f"{counts['unknown']:9}{counts['with_mask']:7}  {classes}".rstrip()
        )
    if summary["rejected"]:
        lines.append(f"rejected: {summary['rejected']} (see {REJECTED_CSV})")
    if summary["left_out"]:
        lines.append(f"left out of the seeded subset: {summary['left_out']}")
    return "\n".join(lines)
