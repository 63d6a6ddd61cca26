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
adds OUT/SET-ARM-SEED.json as it ends, and what is there is not run again. RUNs lie in WORK, one a
frame size; the teacher's answers are shared by the cells of a set. Of cells that are there already:

    .venv/bin/python scripts/studies/ceiling.py --table scripts/studies/ceiling
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

from _cells import Stopwatch, circumstances, one_line_errors, paired_difference, read_cells
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
from meddistill.data.frames import Preprocessing
from meddistill.evaluation.request import EvalRequest
from meddistill.run.layout import PER_CASE_CSV, RUN_JSON, RunDir
from meddistill.run.tables import read_cases
from meddistill.settings.config import Config
from meddistill.settings.distill import DistillConfig
from meddistill.settings.layers import load_config
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.student.student import build_student
from meddistill.teachers.teacher import Teacher
from meddistill.training.fabric import make_fabric
from meddistill.training.loop import Training
from meddistill.training.packed_cases import CaseTarget, PackedCases, TrainingData

# Typer reads annotations at run time.
# ruff: noqa: UP045

BASE = (
    "distill.teacher=litemedsam",
    "distill.size=small",
    "distill.test_targets=false",
    "eval.baselines=false",
)
DEFAULT = "default"
MOST_TRAIN = 600
SETS: dict[str, StudySet] = {
    name: dataclasses.replace(study, most_train=MOST_TRAIN)
    for name, study in FEW_BOXES_SETS.items()
}
ARMS: dict[str, tuple[str, ...]] = {
    DEFAULT: (),
    "standard": ("distill.size=standard",),
    "best": ("distill.size=best",),
    "128px": ("distill.image_size=128",),
    "256px": ("distill.image_size=256",),
    "320px": ("distill.image_size=320",),
    "lite1": ("distill.encoder=tu-tf_efficientnet_lite1",),
    "lite2": ("distill.encoder=tu-tf_efficientnet_lite2",),
    "lite2-256px": ("distill.encoder=tu-tf_efficientnet_lite2", "distill.image_size=256"),
    "ema-0.995": ("distill.ema_decay=0.995",),
    "ema-0.999": ("distill.ema_decay=0.999",),
    "lr-5e-4": ("distill.lr=5e-4",),
    "lr-2e-3": ("distill.lr=2e-3",),
    "decay-1e-2": ("distill.weight_decay=1e-2",),
    "batch-16": ("distill.batch_size=16",),
    "hard-targets": ("distill.hard_targets=true",),
    "no-features": ("distill.feature_weight=0",),
    "both-views": ("distill.targets.views=auto", "distill.targets.jitter_copies=8"),
    "strong": (),
    "strong-decay": ("distill.weight_decay=1e-2",),
    "crops": (),
    "crops-256px": ("distill.image_size=256",),
    "balanced": (),
    "deep-supervision": (
        "distill.student=nested_unet",
        "distill.deep_supervision=true",
        "distill.feature_weight=0",
    ),
}
TRIED = {
    "strong": "stronger",
    "strong-decay": "stronger",
    "crops": "crops",
    "crops-256px": "crops",
    "balanced": "balanced",
}
"""What is tried in the training of an arm that is no setting (`_tried.py`)."""
FOUND_FROM_DICE = 2 * 0.1 / (1 + 0.1)
"""Dice of a mask whose IoU with the true one is .1."""
TIMED_STEPS = 5


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
    part: str = "judge"
    overrides: tuple[str, ...] = ()
    device: str = "cpu"
    teacher: Teacher | None = None

    def run(self, cell: Cell) -> None:
        """Prepare, distill and judge one cell; its file is there afterwards."""
        path = self.out / f"{cell.name}.json"
        if path.exists():
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
            **self._judged(run, config, student),
            **{name: read_json(student / RUN_JSON)["results"][name] for name in _RESULTS},
            "minutes": self.minutes,
            "step_s": round(step_s, 4),
            "batch_size": distill.batch_size,
            "image_size": distill.image_size,
            "seconds": took,
            "settings": [*BASE, *ARMS[cell.arm], *self.overrides],
            "tried": TRIED.get(cell.arm, ""),
            **circumstances(),
        }
        if self.device.startswith("cuda"):
            told["processor"] = torch.cuda.get_device_name()
        write_json(path, told)
        console.say(
            f"{cell.name}: Dice {told['dice_mean']:.3f}, with flips {told['dice_flips_mean']:.3f}, "
            f"{told['epochs']} epochs"
        )

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
        return load_config(None, {}, [*prepare, *BASE, *ARMS[cell.arm], *self.overrides])

    def _with_epochs(
        self, distill: DistillConfig, run: RunDir, arm: str
    ) -> tuple[DistillConfig, float]:
        """The settings with the epochs that `minutes` allow, and the seconds of a step: measured once
        an arm and kept, so that all its seeds have as many."""
        counts = dict.fromkeys(("train", "val", "test"), 0)
        for case in read_cases(run.data):
            counts[case.split] += 1
        kept = self.work / f"step-{self.set_name}-{arm}.json"
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


def step_seconds(distill: DistillConfig, device: str) -> float:
    """Of an optimiser step on random targets, views and features included: processor time over the
    threads, which other jobs on the machine change little; on a GPU wall time."""
    settings = dataclasses.replace(distill, encoder_weights="none", epochs=1)
    side, count = settings.image_size, settings.batch_size
    features = {"embedding": (128, 32, 32)} if settings.feature_weight else {}
    packed = PackedCases([str(number) for number in range(count)], side, features)
    rng = np.random.default_rng(0)
    for place in range(count):
        probs = np.zeros((side, side), np.float32)
        probs[side // 3 : side // 2, side // 3 : side // 2] = 1
        image = np.repeat(rng.integers(0, 256, (side, side, 1), np.uint8), 3, 2)
        maps = {name: np.ones(shape, np.float16) for name, shape in features.items()}
        packed.put(place, image, CaseTarget(probs, 0 * probs, features=maps))
    fabric = make_fabric(device, settings.precision)
    module = build_student(
        settings.student,
        encoder=settings.encoder,
        encoder_weights="none",
        decoder_channels=settings.decoder_channels,
    )
    preprocessing = Preprocessing(side, *module.preprocessing_mean_std)
    on_gpu = fabric.device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        data = TrainingData(packed, PackedCases([], side))
        run = Training(module, data, preprocessing, settings, fabric, Path(folder), 0)
        run.learner.model.train()
        draw = next(run.source.draws(0))
        take = functools.partial(run.step.take, draw)
        return _timed(take, torch.cuda.synchronize if on_gpu else None)


def _timed(take: Any, wait: Any) -> float:
    clock = time.perf_counter if wait else time.process_time
    seconds = []
    for number in range(2 + TIMED_STEPS):
        began = clock()
        take()
        if wait:
            wait()
        if number >= 2:  # the first ones warm up
            seconds.append(clock() - began)
    return statistics.median(seconds) / (1 if wait else torch.get_num_threads())


def cells_of(set_name: str, arms: str, seeds: Sequence[int]) -> list[Cell]:
    """The cells that are asked for, seed by seed. Raises: ConfigError for what is not known."""
    wanted = list(ARMS) if arms == "all" else arms.split(",")
    for arm in wanted:
        if arm not in ARMS:
            raise ConfigError(f"arm '{arm}' is not known{nearest(arm, ARMS)}")
    return [Cell(set_name, arm, seed) for seed in seeds for arm in wanted]


def make_table(cells: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, a line a set and arm: means over its seeds, and the paired difference with
    the default of the same seeds."""
    lines = [
        "| set | arm | seeds | Dice | with flips | smallest quarter | no pixel hit "
        "| against default (95 % interval) | px | parameters, M | step, s | epochs | minutes |",
        "|---" * 13 + "|",
    ]
    for set_name in dict.fromkeys(cell["set_name"] for cell in cells):
        of_set = [cell for cell in cells if cell["set_name"] == set_name]
        lines += [
            _line(found, [cell for cell in of_set if cell["arm"] == DEFAULT])
            for arm in ARMS
            if (found := [cell for cell in of_set if cell["arm"] == arm])
        ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[dict[str, Any]], default: Sequence[dict[str, Any]]) -> str:
    first = cells[0]

    def mean(name: str, digits: int) -> str:
        return f"{statistics.mean(cell[name] for cell in cells):.{digits}f}"

    facts = [
        first["set_name"],
        first["arm"],
        str(len(cells)),
        mean("dice_mean", 3),
        mean("dice_flips_mean", 3),
        mean("smallest_quarter", 3),
        mean("no_pixel_hit", 0),
        "" if first["arm"] == DEFAULT else paired_difference(cells, default, "seed"),
        str(first["image_size"]),
        f"{first['parameters'] / 1e6:.2f}",
        mean("step_s", 2),
        mean("epochs", 0),
        f"{statistics.mean(cell['seconds']['wall'] for cell in cells) / 60:.0f}",
    ]
    return f"| {' | '.join(facts)} |"


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
    ] = "judge",
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
        if part not in ("judge", "report"):
            raise ConfigError(f"--part is judge or report, got '{part}'")
        study = Study(set_name, source, work, out, minutes, part, tuple(overrides or ()), device)
        for cell in cells_of(set_name, arms, range(first_seed, first_seed + seeds)):
            study.run(cell)
        typer.echo(make_table(read_cells(out, "*-*-*.json")))


if __name__ == "__main__":
    app()
