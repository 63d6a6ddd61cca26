"""The summary as tables of plain text, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HEADER = ["", "Dice mean [95 % CI]", "median", "IoU", "HD95 px", "missed", "false alarms"]
OF_FINDINGS = "first the mean of the findings; each over the cases that have it"


def format_table(methods: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """The summary as a few aligned lines that fit a terminal of 80 columns, of several findings
    each below its method; the last says what the methods are."""
    lines = [_HEADER]
    several = False
    for method, scores in methods.items():
        lines.append([method, *_cells(scores)])
        for finding, own in scores.get("by_finding", {}).items():
            several = True
            lines.append([f"  {finding}", *_cells(own)])
    told = [
        f"{method} = {labels[method]}" for method in methods if labels.get(method, method) != method
    ]
    return "\n".join(filter(None, [align(lines), "; ".join(told), OF_FINDINGS if several else ""]))


def format_of_itself(told: Mapping[str, Any]) -> str:
    """How far what the student says of itself can be trusted, a sentence a line."""
    lines = ["How far the student's own word can be trusted, measured on these images:"]
    for finding, said in told["sentences"].items():
        lines += [f"- {finding}: {each}" if finding else f"- {each}" for each in said]
    fitted = [f"- {each}" for each in told["fitted_on"]]
    return "\n".join([*lines, *(["What it was fitted on:"] if fitted else []), *fitted])


def _cells(scores: Mapping[str, Any]) -> list[str]:
    metrics = scores["metrics"]
    told = ["-"] * 4
    if "dice" in metrics:
        told = [
            f"{metrics['dice']['mean']:.3f} {format_interval(metrics['dice']['ci95'])}",
            f"{metrics['dice']['median']:.3f}",
            f"{metrics['iou']['mean']:.3f}",
            f"{metrics['hd95_px']['mean']:.1f}",
        ]
    return [
        *told,
        f"{scores['n_missed']}/{scores['n_with_lesion']}",
        f"{scores['n_false']}/{scores['n'] - scores['n_with_lesion']}",
    ]


def align(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns: the first flush left, the others right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def format_interval(interval: Sequence[float] | None, digits: int = 3) -> str:
    return (
        "[one group]"
        if interval is None
        else f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    )
