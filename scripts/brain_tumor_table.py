"""Print the README's brain tumour table from the RUNs that `scripts/brain_tumor.sh` made.

.venv/bin/python scripts/brain_tumor_table.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from meddistill.artifacts import METRICS_JSON, SUMMARY_JSON, RunDir
from meddistill.errors import InputError
from meddistill.files import read_json

ROWS = (
    # what, folder of summary.json, method in it
    ("detector boxes filled in", "full/eval", "boxes"),
    ("teacher, prompted by the detector", "full/eval", "teacher"),
    ("**student, boxes on all training cases**", "full/eval", "student"),
    ("detector boxes filled in, detector of the quarter", "quarter/eval", "boxes"),
    ("**student, boxes on a quarter** (`--box-fraction 0.25`)", "quarter/eval", "student"),
    ("student's twin, trained on the true masks", "full/eval-twin", "student"),
)


def table(out: Path) -> str:
    """Markdown: one line a method. A RUN that is not there yet leaves its lines out."""
    lines = [
        "| on the test cases | Dice, mean [95 %] | median | HD95, px | missed |",
        "|---|---|---|---|---|",
    ]
    for label, folder, method in ROWS:
        path = out / folder / SUMMARY_JSON
        if not path.exists():
            continue
        methods = read_json(path)["methods"]
        if method in methods:
            lines.append(_line(label, methods[method]))
    if len(lines) == 2:
        raise InputError(f"{out} holds no finished evaluation; run scripts/brain_tumor.sh first")
    return "\n".join([*lines, "", *_detectors(out)])


def _line(label: str, scores: dict[str, Any]) -> str:
    dice, hd95 = scores["metrics"]["dice"], scores["metrics"]["hd95_px"]
    low, high = dice["ci95"] or (float("nan"), float("nan"))
    return (
        f"| {label} | {dice['mean']:.3f} [{low:.3f}, {high:.3f}] | {dice['median']:.3f} "
        f"| {hd95['mean']:.1f} | {scores['n_missed']} of {scores['n']} |"
    )


def _detectors(out: Path) -> list[str]:
    lines = []
    for name in ("full", "quarter"):
        path = RunDir(out / name).detector / METRICS_JSON
        if path.exists():
            metrics = read_json(path)
            lines.append(f"detector ({name}): {metrics['splits']['test']}")
    return lines


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(out: Annotated[Path, typer.Argument(help="The OUT of scripts/brain_tumor.sh.")]) -> None:
    try:
        print(table(out))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app()
