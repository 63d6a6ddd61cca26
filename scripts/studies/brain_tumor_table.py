"""Print the README's brain tumour table from what `scripts/studies/brain_tumor.sh` made, and how
far the aims are met.

Needs what that script made. Takes seconds.

.venv/bin/python scripts/studies/brain_tumor_table.py OUT

A student's Dice is its mean over the seeds, case by case; intervals resample groups of cases; the
median is the mean of the seeds' medians. Not found: cases of which no pixel is hit, for each seed.
What is not there yet is left out.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from meddistill.base.errors import InputError
from meddistill.base.files import read_json
from meddistill.evaluation.baselines import BOXES, STUDENT, TEACHER
from meddistill.evaluation.scores import ScoreRow, read_scores
from meddistill.evaluation.statistics import compare_paired, describe
from meddistill.run.layout import METRICS_JSON, PER_CASE_CSV, RUN_JSON, RunDir

STUDENT_OF_ALL, STUDENT_OF_QUARTER = (
    "**student, boxes on all training cases**",
    "**student, boxes on a quarter**",
)
TWIN, PROMPTED = "student's twin, trained on the true masks", "teacher, prompted by the detector"
PUBLISHED = "student, the published objective on the same targets"
ALONE = "student of the annotated quarter alone"
LONGER = f"{ALONE}, four times the epochs"
ROWS = (
    # what, RUN, evaluations (of all seeds), method in them
    ("detector boxes filled in", "full", "eval-student-0", BOXES),
    (PROMPTED, "full", "eval-student-0", TEACHER),
    (STUDENT_OF_ALL, "full", "eval-student-*", STUDENT),
    (PUBLISHED, "full", "eval-published-*", STUDENT),
    ("detector boxes filled in, detector of the quarter", "quarter", "eval-student-0", BOXES),
    (STUDENT_OF_QUARTER, "quarter", "eval-student-*", STUDENT),
    (ALONE, "quarter", "eval-alone-*", STUDENT),
    (LONGER, "quarter", "eval-longer-*", STUDENT),
    (TWIN, "full", "eval-twin-*", STUDENT),
)
# The aims: the first's Dice against the second's.
AIMS = (
    (STUDENT_OF_ALL, TWIN),
    (STUDENT_OF_ALL, PROMPTED),
    (STUDENT_OF_ALL, PUBLISHED),
    (STUDENT_OF_QUARTER, TWIN),
    (STUDENT_OF_QUARTER, ALONE),
    (STUDENT_OF_QUARTER, LONGER),
)


@dataclasses.dataclass(frozen=True)
class Method:
    """One line: its rows by case, a list of one row a seed."""

    label: str
    cases: dict[str, list[ScoreRow]]

    @property
    def dice(self) -> dict[str, float]:
        """Mean over the seeds, by case."""
        return {
            case_id: statistics.mean(row.dice for row in rows)
            for case_id, rows in self.cases.items()
        }

    @property
    def groups(self) -> list[str]:
        return [rows[0].group for rows in self.cases.values()]

    @property
    def seeds(self) -> int:
        return min(len(rows) for rows in self.cases.values())

    def over_cases(
        self, name: str, summary: Callable[[list[float]], float] = statistics.mean
    ) -> list[float]:
        """A column summed up over the cases, one value a seed."""
        cases = self.cases.values()
        return [
            summary([getattr(rows[seed], name) for rows in cases]) for seed in range(self.seeds)
        ]


def table(out: Path) -> str:
    """Markdown: a line a method, then one an aim. Raises: InputError where nothing is evaluated
    yet."""
    methods = {}
    for label, run, pattern, name in ROWS:
        cases: dict[str, list[ScoreRow]] = {}
        for path in sorted((out / run).glob(f"{pattern}/{PER_CASE_CSV}")):
            if not (path.parent / RUN_JSON).exists():
                continue
            for row in read_scores(path):
                if row.method == name:
                    cases.setdefault(row.case_id, []).append(row)
        if cases:
            methods[label] = Method(label, cases)
    if not methods:
        raise InputError(
            f"{out} holds no finished evaluation; run scripts/studies/brain_tumor.sh first"
        )
    lines = [
        "| on the test cases | Dice, mean [95 %] | each seed | median | HD95, px | not found |",
        "|---|---|---|---|---|---|",
        *map(_line, methods.values()),
        "",
        *(
            _aim(methods[first], methods[second])
            for first, second in AIMS
            if {first, second} <= methods.keys()
        ),
    ]
    return "\n".join([*lines, "", *_detectors(out)])


def _line(method: Method) -> str:
    spread = describe(list(method.dice.values()), method.groups)
    interval = f" [{spread.ci95[0]:.3f}, {spread.ci95[1]:.3f}]" if spread.ci95 else ""
    seeds = (
        ", ".join(f"{value:.3f}" for value in method.over_cases("dice")) if method.seeds > 1 else ""
    )
    median = statistics.mean(method.over_cases("dice", statistics.median))
    lost = ", ".join(
        f"{value:.0f}" for value in method.over_cases("dice", lambda values: values.count(0))
    )
    return (
        f"| {method.label} | {spread.mean:.3f}{interval} | {seeds} | {median:.3f} "
        f"| {statistics.mean(method.over_cases('hd95_px')):.1f} | {lost} of {len(method.cases)} |"
    )


def _aim(first: Method, second: Method) -> str:
    ids = [case_id for case_id in first.cases if case_id in second.cases]
    mine, other = ([method.dice[case_id] for case_id in ids] for method in (first, second))
    paired = compare_paired(mine, other, [first.cases[case_id][0].group for case_id in ids])
    interval = f" [{paired.ci95[0]:+.3f}, {paired.ci95[1]:+.3f}]" if paired.ci95 else ""
    ratio = statistics.mean(mine) / (statistics.mean(other) or float("nan"))
    names = f"{first.label} against {second.label}".replace("**", "")
    return f"- {names}: ratio {ratio:.3f}, difference {paired.mean:+.3f}{interval}"


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
def main(
    out: Annotated[Path, typer.Argument(help="The OUT of scripts/studies/brain_tumor.sh.")],
) -> None:
    try:
        print(table(out))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app()
