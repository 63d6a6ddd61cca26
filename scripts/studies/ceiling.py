"""What limits the student: one change at a time around the set-up of two CPU cores, every arm
trained for the same processor time.

Needs a data set with masks, to judge by. Takes the teacher's pass once a frame size (a quarter of
an hour on two cores), then a little more than --minutes a cell; resumable.

    .venv/bin/python scripts/studies/ceiling.py brain data/brain_tumor --minutes 15 --seeds 1

A cell is one set, arm (`--arms`, or all) and seed. Every arm has `distill.size=small`, and as many epochs as fit in
--minutes of processor time over the threads, by the arm's own step, measured first; --minutes 0
trains the epochs that the settings say. The masks judge and are read by nothing else: of the brain
tumour set fold 3, with folds 1 and 2 trained on; --part report looks at the part that is kept for
the end. Each cell is judged with and without averaging over flips (`eval.flip_average`). Every cell
adds OUT/SET-ARM-SEED.json as it ends, and what is there is not run again; cells of other --minutes
go to a folder of their own (--out). RUNs lie in WORK, one a frame size; the teacher's answers are
shared by the cells of a set. Of cells that are there already:

    .venv/bin/python scripts/studies/ceiling.py --table scripts/studies/ceiling
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

from _ceiling_arms import ARMS, BASE, TRIED
from _ceiling_table import make_table
from _cells import (
    JUDGE,
    REPORT,
    Stopwatch,
    circumstances,
    is_there,
    of_part,
    one_line_errors,
    read_cells,
)
from _step_time import step_seconds
from _tried import tried

# isort: split
import numpy as np
import torch
import typer
from few_boxes import SETS as FEW_BOXES_SETS
from few_boxes import StudySet, write_parts

from meddistill.base import console
from meddistill.base.errors import ConfigError, nearest
from meddistill.base.files import read_json, write_json
from meddistill.evaluation.request import EvalRequest
from meddistill.run.layout import PER_CASE_CSV, RUN_JSON, RunDir
from meddistill.run.tables import read_cases
from meddistill.settings.config import Config
from meddistill.settings.distill import DistillConfig
from meddistill.settings.layers import load_config
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.teachers.teacher import Teacher
from meddistill.training.fabric import resolve_device

# Typer reads annotations at run time.
# ruff: noqa: UP045

MOST_TRAIN = 600
SETS: dict[str, StudySet] = {
    name: dataclasses.replace(study, most_train=MOST_TRAIN)
    for name, study in FEW_BOXES_SETS.items()
}
FOUND_FROM_DICE = 2 * 0.1 / (1 + 0.1)
"""Dice of a mask whose IoU with the true one is .1."""


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
    """Where one set's cells are run. `minutes`: of processor time a thread that training has; 0: the
    epochs of the settings. `part`: `judge` or `report`. `overrides`: settings of every cell, over
    the study's own. `teacher`: one to use instead of the one that they name."""

    set_name: str
    source: Path
    work: Path
    out: Path
    minutes: float
    part: str = JUDGE
    overrides: tuple[str, ...] = ()
    device: str = "cpu"
    teacher: Teacher | None = None

    def run(self, cell: Cell) -> None:
        """Prepare, distill and judge one cell; its file is there afterwards."""
        path = of_part(self.out, self.part) / f"{cell.name}.json"
        if is_there(path, self._settings(cell), {"minutes": self.minutes}):
            return
        console.say(f"cell {cell.name}")
        config = self._config(cell)
        data = self.work / f"{self.set_name}-{self.part}"
        if not (data / "data" / RUN_JSON).exists():
            run_prepare(RunDir(data), config.prepare, seed=0)
        run = RunDir(data / f"{config.distill.image_size}px", data / "data")
        with tried(TRIED.get(cell.arm, "")):
            distill, step_s = self._with_epochs(config.distill, run, cell.arm)
            student = run.root / f"student-{cell.arm}-{cell.seed}"
            watch = Stopwatch()
            run_distill(
                run,
                distill,
                seed=cell.seed,
                out=student,
                device=self.device,
                teacher=self.teacher,
            )
            took = watch.seconds()
        told = {
            **dataclasses.asdict(cell),
            "part": self.part,
            **self._judged(run, config, student),
            **{name: read_json(student / RUN_JSON)["results"][name] for name in _RESULTS},
            "minutes": self.minutes,
            "step_s": round(step_s, 4),
            "batch_size": distill.batch_size,
            "image_size": distill.image_size,
            "seconds": took,
            "settings": self._settings(cell),
            "tried": TRIED.get(cell.arm, ""),
            **circumstances(),
        }
        if self.device.startswith("cuda"):
            told["processor"] = torch.cuda.get_device_name(self.device)
        write_json(path, told)
        console.say(
            f"{cell.name}: Dice {told['dice_mean']:.3f}, with flips {told['dice_flips_mean']:.3f}, "
            f"{told['epochs']} epochs"
        )

    def _settings(self, cell: Cell) -> list[str]:
        return [*BASE, *ARMS[cell.arm], *self.overrides]

    def _config(self, cell: Cell) -> Config:
        table = self.work / f"{self.set_name}-{self.part}.csv"
        if not table.exists():
            write_parts(table, self.source, SETS[self.set_name], self.part)
        prepare = (
            f"prepare.source={self.source}",
            f"prepare.groups={table}",
            f"prepare.test=part={self.part}",
            "prepare.val_fraction=0.1",
            *SETS[self.set_name].prepare,
        )
        return load_config(None, {}, [*prepare, *self._settings(cell)])

    def _with_epochs(
        self, distill: DistillConfig, run: RunDir, arm: str
    ) -> tuple[DistillConfig, float]:
        """The settings with the epochs that `minutes` allow, and the seconds of a step: measured once
        an arm, device and overrides and kept, so that all its seeds have as many."""
        counts = dict.fromkeys(("train", "val", "test"), 0)
        for case in read_cases(run.data):
            counts[case.split] += 1
        others = hashlib.sha256("\n".join(self.overrides).encode()).hexdigest()[:8]
        device = self.device.replace(":", "")
        kept = self.work / f"step-{self.set_name}-{arm}-{device}-{others}.json"
        if not kept.exists():
            write_json(kept, {"step_s": step_seconds(distill, self.device)})
        step_s = float(read_json(kept)["step_s"])
        if not self.minutes:
            return distill, step_s
        # A validation batch is a forward pass: a third of a step.
        steps = math.ceil(counts["train"] / distill.batch_size)
        steps_with_val = steps + counts["val"] / distill.batch_size / 3
        epochs = max(1, round(self.minutes * 60 / (step_s * steps_with_val)))
        return dataclasses.replace(distill, epochs=epochs), step_s

    def _judged(self, run: RunDir, config: Config, student: Path) -> dict[str, Any]:
        plain, flipped = (
            _scores(
                run_eval(
                    run,
                    dataclasses.replace(config.eval, flip_average=flips),
                    EvalRequest(
                        student=student,
                        out=student.with_name(f"{student.name}-eval{'-flips' * flips}"),
                        device=self.device,
                    ),
                    seed=0,
                )
            )
            for flips in (False, True)
        )
        dice = plain["dice"]
        return {
            "dice_mean": round(statistics.mean(dice), 4),
            "dice_flips_mean": round(statistics.mean(flipped["dice"]), 4),
            "found": round(statistics.mean(value > FOUND_FROM_DICE for value in dice), 4),
            "no_pixel_hit": sum(value == 0 for value in dice),
            "smallest_quarter": round(_of_smallest(dice, plain["true_px"]), 4),
            "cases": plain["cases"],
            "groups": plain["groups"],
            "dice": [round(value, 4) for value in dice],
        }


_RESULTS = ("epochs", "best_epoch", "agreement", "parameters", "precision", "train_cases")


def _scores(judged: Path) -> dict[str, list[Any]]:
    """Of the student's cases with a lesion."""
    with (judged / PER_CASE_CSV).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "student"]
    lesion = [row for row in rows if int(row["true_px"])]
    return {
        "cases": [row["case_id"] for row in lesion],
        "groups": [row["group"] for row in lesion],
        "dice": [float(row["dice"]) for row in lesion],
        "true_px": [int(row["true_px"]) for row in lesion],
    }


def _of_smallest(dice: Sequence[float], true_px: Sequence[int]) -> float:
    """Mean Dice of the quarter with the smallest lesions."""
    order = np.argsort(true_px, kind="stable")[: math.ceil(len(dice) / 4)]
    return float(np.mean(np.asarray(dice)[order]))


def cells_of(set_name: str, arms: str, seeds: Sequence[int]) -> list[Cell]:
    """The cells that are asked for, seed by seed. Raises: ConfigError for what is not known."""
    wanted = list(ARMS) if arms == "all" else arms.split(",")
    for arm in wanted:
        if arm not in ARMS:
            raise ConfigError(f"arm '{arm}' is not known{nearest(arm, ARMS)}")
    return [Cell(set_name, arm, seed) for seed in seeds for arm in wanted]


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    set_name: Annotated[
        Optional[str], typer.Argument(metavar="SET", help=f"One of {', '.join(SETS)}.")
    ] = None,
    source: Annotated[Optional[Path], typer.Argument(help="The set's folder.")] = None,
    arms: Annotated[
        str, typer.Option(help=f"Which arms, or all: {', '.join(ARMS)}.")
    ] = "default,128px,256px,lite2,ema-0.995,strong",
    minutes: Annotated[
        float, typer.Option(help="Of training a cell; 0: the epochs of the settings.")
    ] = 15.0,
    seeds: Annotated[int, typer.Option(help="Seeds: 0, 1, ...")] = 1,
    first_seed: Annotated[int, typer.Option(help="The seed to begin with.")] = 0,
    part: Annotated[
        str, typer.Option(help="'judge' to tune by, 'report' to be looked at once.")
    ] = JUDGE,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.")] = "cpu",
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Where RUNs lie.")] = Path("runs/ceiling"),
    out: Annotated[Path, typer.Option(help="Where the cells' files go.")] = Path(
        "scripts/studies/ceiling"
    ),
    table_of: Annotated[
        Optional[Path], typer.Option("--table", help="Only print the table of this folder.")
    ] = None,
) -> None:
    with one_line_errors():
        if table_of is not None:
            typer.echo(make_table(read_cells(table_of, "*-*-*.json")))
            return
        if set_name is None or source is None:
            raise ConfigError("give a SET and its folder, or a folder of cells as --table")
        if set_name not in SETS:
            raise ConfigError(f"set '{set_name}' is not known{nearest(set_name, SETS)}")
        if part not in (JUDGE, REPORT):
            raise ConfigError(f"--part is judge or report, got '{part}'")
        device = str(resolve_device(device))  # step times are kept by it
        study = Study(set_name, source, work, out, minutes, part, tuple(overrides or ()), device)
        for cell in cells_of(set_name, arms, range(first_seed, first_seed + seeds)):
            study.run(cell)
        typer.echo(make_table(read_cells(of_part(out, part), "*-*-*.json")))


if __name__ == "__main__":
    app()
