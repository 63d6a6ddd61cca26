"""Several findings from boxes: a student beside the teacher with true boxes and beside its
mask-trained twin, on real data, and what partly annotated data give.

Needs a data set with masks, to judge by. Takes at most a quarter of an hour a cell on one core.

    .venv/bin/python scripts/studies/findings.py hippocampus data/hippocampus --seeds 3

A cell is one set, arm and seed:

    student     boxes of all findings
    twin        the same trainer, network and cases on the true masks
    teacher     the teacher with the true boxes of the judged images (one seed, as it has none)
    binary      one finding, what all of them make together
    halves      each volume is boxed for one of two findings, the other is unknown there
    both        both are boxed on as many volumes each as in `halves`: the other half is left out
    background  as `halves`, but what is unknown is taken for "not there": the control

A finding's Dice is the mean over the units (volumes, or images) that show it, its false alarms are
counted over those that do not. Every cell adds OUT/SET-ARM-SEED.json as it ends, and what is there
is not run again. RUNs lie in WORK; the teacher's answers are shared by the cells of a set. Of cells
that are there already:

    .venv/bin/python scripts/studies/findings.py --table scripts/studies/findings
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import typer
from _cells import SMALL_STUDENT, Stopwatch, circumstances, is_there, one_line_errors, read_cells
from _findings_judge import judge, of_student, of_teacher
from _findings_sets import (
    ARMS,
    AS_BACKGROUND,
    BINARY,
    BOTH,
    DATA_OF,
    HALVES,
    PARTS,
    SETS,
    STUDENT,
    TEACHER,
    TWIN,
    forget_what_was_looked_for,
    write_parts,
)
from _findings_table import make_table
from supervised_twin import train_twin

from meddistill.base import console
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, nearest
from meddistill.base.files import read_json, write_json
from meddistill.run.layout import CASES_CSV, RUN_JSON, RunDir
from meddistill.run.tables import Case
from meddistill.settings.config import Config
from meddistill.settings.layers import load_config
from meddistill.stages.distill import run_distill
from meddistill.stages.prepare import run_prepare
from meddistill.teachers.loading import load_teacher
from meddistill.teachers.teacher import Teacher

# Typer reads annotations at run time.
# ruff: noqa: UP045

DISTILL = (
    *SMALL_STUDENT,
    "distill.batch_size=16",
    "distill.lr=1e-3",
    "distill.feature_weight=0.0",
    "distill.targets.views=whole",
    "distill.targets.jitter_copies=2",
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training run of the study."""

    set_name: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.set_name}-{self.arm}-{self.seed}"


@dataclasses.dataclass(frozen=True)
class Study:
    """Where one set's cells are run. `overrides`: settings of every cell, over the study's own.
    `teacher`: one to use instead of the one that they name."""

    set_name: str
    source: Path
    work: Path
    out: Path
    overrides: tuple[str, ...] = ()
    teacher: Teacher | None = None

    def run(self, cell: Cell) -> None:
        """Prepare, learn and judge one cell; its file is there afterwards."""
        path = self.out / f"{cell.name}.json"
        if is_there(path, self._settings()):
            return
        console.say(f"cell {cell.name}")
        config = self._config(cell)
        run = self._prepared(cell, config)
        watch = Stopwatch()
        learned: dict[str, Any] = {}
        if cell.arm == TEACHER:
            teacher = self.teacher or load_teacher(config.distill.teacher, device="cpu")
            scratch = self.work / f"true-boxes-{self.set_name}"
            guess = of_teacher(teacher, run, scratch, config.distill.targets)
        else:
            student = run.root / f"{TWIN if cell.arm == TWIN else STUDENT}-{cell.seed}"
            if cell.arm == TWIN:
                train_twin(run, config.distill, student, seed=cell.seed, device="cpu")
            else:
                run_distill(
                    run,
                    config.distill,
                    seed=cell.seed,
                    device="cpu",
                    out=student,
                    teacher=self.teacher,
                )
            learned = read_json(student / RUN_JSON)["results"]
            guess = of_student(run, student)
        judged = judge(run, guess, SETS[cell.set_name].whole_volumes)
        told = {
            **dataclasses.asdict(cell),
            **judged,
            "cases": _counts(run),
            "learned": {
                name: learned[name]
                for name in ("epochs", "best_epoch", "agreement", "swallowed")
                if name in learned
            },
            "seconds": watch.seconds(),
            "settings": self._settings(),
            **circumstances(),
        }
        write_json(path, told)
        console.say(f"{cell.name}: " + _in_short(told))

    def _settings(self) -> tuple[str, ...]:
        return (*DISTILL, *SETS[self.set_name].settings, *self.overrides)

    def _config(self, cell: Cell) -> Config:
        study = SETS[self.set_name]
        table = self.work / f"{self.set_name}-{DATA_OF.get(cell.arm, cell.arm)}.csv"
        if not table.exists():
            write_parts(table, self.source, study, cell.arm)
        names = "" if cell.arm == BINARY else study.findings
        prepare = (
            f"prepare.source={self.source}",
            f"prepare.groups={table}",
            "prepare.test=part=test",
            "prepare.val=part=val",
            "prepare.resplit=true",
            "prepare.accept=[mostly-rejected]",
            f"prepare.findings=[{names}]",
        )
        return load_config(None, {}, [*prepare, *self._settings()])

    def _prepared(self, cell: Cell, config: Config) -> RunDir:
        """The RUN of the cell, whose teacher's answers are those of all RUNs of the set."""
        run = RunDir(self.work / f"{cell.set_name}-{DATA_OF.get(cell.arm, cell.arm)}")
        if not (run.data / RUN_JSON).exists():
            run_prepare(run, config.prepare, seed=0)
            if cell.arm == AS_BACKGROUND:
                forget_what_was_looked_for(run)
        shared = self.work / f"targets-{cell.set_name}"
        shared.mkdir(parents=True, exist_ok=True)
        run.teacher.mkdir(parents=True, exist_ok=True)
        link = run.teacher / "targets"
        if not link.exists():
            link.symlink_to(shared.resolve(), target_is_directory=True)
        return run


def _counts(run: RunDir) -> dict[str, int]:
    cases = read_table(run.data / CASES_CSV, Case)
    return {split: sum(case.split == split for case in cases) for split in PARTS}


def _in_short(told: Mapping[str, Any]) -> str:
    dice = ", ".join(f"{name} {of['dice']}" for name, of in told["findings"].items())
    return f"Dice {dice}; {told['seconds']['wall']} s"


def cells_of(set_name: str, arms: str, seeds: Sequence[int]) -> list[Cell]:
    """The cells that are asked for. Raises: ConfigError for what is not known."""
    for arm in arms.split(","):
        if arm not in ARMS:
            raise ConfigError(f"arm '{arm}' is not known{nearest(arm, ARMS)}")
        if arm in (HALVES, BOTH, AS_BACKGROUND) and SETS[set_name].findings.count("=") != 2:
            raise ConfigError(f"arm '{arm}' is of two findings, {set_name} has others")
    return [
        Cell(set_name, arm, seed)
        for seed in seeds
        for arm in arms.split(",")
        if arm != TEACHER or seed == 0
    ]


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    set_name: Annotated[
        Optional[str], typer.Argument(metavar="SET", help=f"One of {', '.join(SETS)}.")
    ] = None,
    source: Annotated[Optional[Path], typer.Argument(help="The set's folder.")] = None,
    arms: Annotated[str, typer.Option(help="Which arms.")] = "student,twin,teacher",
    seeds: Annotated[int, typer.Option(help="Seeds: 0, 1, ...")] = 1,
    first_seed: Annotated[int, typer.Option(help="The seed to begin with.")] = 0,
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Where RUNs lie.")] = Path("runs/findings"),
    out: Annotated[Path, typer.Option(help="Where the cells' files go.")] = Path(
        "scripts/studies/findings"
    ),
    table_of: Annotated[
        Optional[Path], typer.Option("--table", help="Only print the table of this folder.")
    ] = None,
) -> None:
    with one_line_errors():
        if table_of is not None:
            typer.echo(make_table(read_cells(table_of)))
            return
        if set_name is None or source is None:
            raise ConfigError("give a SET and its folder, or a folder of cells as --table")
        if set_name not in SETS:
            raise ConfigError(f"set '{set_name}' is not known{nearest(set_name, SETS)}")
        study = Study(set_name, source, work, out, tuple(overrides or ()))
        for cell in cells_of(set_name, arms, range(first_seed, first_seed + seeds)):
            study.run(cell)
        typer.echo(make_table(read_cells(out)))


if __name__ == "__main__":
    app()
