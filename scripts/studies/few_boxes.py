"""How many boxes are needed: a student of few boxes alone, beside one for which unboxed images pay.

Needs a data set with masks, to judge by. Takes about ten minutes a cell on one core.

    .venv/bin/python scripts/studies/few_boxes.py brain data/brain_tumor --boxes 20,50,150,all --draws 3

A cell is one set, count of boxes, draw of the boxed images and arm:

    alone      the boxed images and no other
    longer     the same with twice the steps: no less time than colearning takes
    colearning the images without a box, too: proposed on, answered, weighed
    warm       begun from the student of 20 boxes that are among these, with a third of the steps
    short      colearning from nothing with a third of the steps
    again      begun from colearning's own student: proposals and answers by it, as many steps again
    without-*  colearning with a part left out
    with-*     colearning with a part that it does not have

`--boxes all` boxes every image, and is `alone`: what there is to reach. All boxes stand in training,
none in validation; images of one group (series, patient) are boxed together. The masks judge and are
read by nothing else. Every cell adds OUT/SET-BOXES-DRAW-ARM.json as it ends, and what is there is not
run again. RUNs lie in WORK; the teacher's encodings are shared by the cells of a set. With --part report
both lie in a folder `report` of their own. Of cells that are there already:

    .venv/bin/python scripts/studies/few_boxes_table.py scripts/studies/few_boxes
"""

from __future__ import annotations

import csv
import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import torch
import typer
from _cells import (
    JUDGE,
    REPORT,
    SMALL_STUDENT,
    Stopwatch,
    circumstances,
    is_there,
    of_distill_asked,
    of_part,
    one_line_errors,
)

from meddistill.base.console import say
from meddistill.base.errors import ConfigError, nearest
from meddistill.base.files import atomic_path, read_json, write_json
from meddistill.colearning.belief_files import load_beliefs
from meddistill.colearning.beliefs import dice
from meddistill.data.frames import to_frame
from meddistill.data.masks import read_mask
from meddistill.data.prepare.splits import take_cases
from meddistill.evaluation.request import EvalRequest
from meddistill.run.layout import BELIEFS_NPZ, PER_CASE_CSV, RUN_JSON, RunDir
from meddistill.run.tables import read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.config import Config
from meddistill.settings.layers import load_config
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.teachers.teacher import Teacher

# Typer reads annotations at run time.
# ruff: noqa: UP045

STEPS, IMAGE_SIZE = 600, 128
DISTILL = (
    *SMALL_STUDENT,
    f"distill.image_size={IMAGE_SIZE}",
    "distill.batch_size=8",
    "distill.epochs=8",
    f"distill.colearning.steps={STEPS}",
    "eval.baselines=false",
    "eval.flip_average=true",
)
JUDGED_CASES, UNBOXED_CASES = 250, 1200
FOUND_FROM_DICE = 2 * 0.1 / (1 + 0.1)
"""Dice of a mask whose IoU with the true one is .1."""


@dataclasses.dataclass(frozen=True)
class StudySet:
    """One data set. `column` of its groups.csv says which part a case is in, by the values in
    `train`, `judge` (tuning looks here) and `report` (looked at once); a part without a value is
    drawn from `train` by group. `group`: the column of what is boxed together; none: a case is its
    own. `prepare`: settings beside those."""

    column: str = ""
    train: tuple[str, ...] = ()
    judge: tuple[str, ...] = ()
    report: tuple[str, ...] = ()
    group: str = ""
    most_train: int = 420
    prepare: tuple[str, ...] = ()


SETS = {
    "brain": StudySet("fold", ("1", "2"), ("3",), ("4",), "series", UNBOXED_CASES + 50),
    "busi": StudySet("fold", ("0", "1", "2"), ("3",), ("4",), "group"),
    "isic": StudySet(),
    "kvasir": StudySet("split", ("train",), report=("test",)),
    "acdc-left": StudySet(
        "split", ("train",), ("val",), ("test",), "patient", prepare=("prepare.label=3",)
    ),
    "acdc-right": StudySet(
        "split", ("train",), ("val",), ("test",), "patient", prepare=("prepare.label=1",)
    ),
}
ARMS = {
    "alone": ("distill.colearning.unboxed=ignore",),
    "longer": ("distill.colearning.unboxed=ignore", f"distill.colearning.steps={2 * STEPS}"),
    "colearning": ("distill.colearning.unboxed=propose",),
}
SHORT = (*ARMS["colearning"], f"distill.colearning.steps={STEPS // 3}")
ARMS |= {"warm": (*SHORT, "distill.warm_start={start}"), "short": SHORT}
ARMS["again"] = (*ARMS["colearning"], "distill.warm_start={own}")
START = "20"
"""Boxes of the cell whose student `warm` begins with."""
PARTS = {
    "without-views": ("distill.augment=false",),
    "without-averaging": ("distill.ema_decay=0.0",),
    "without-decay": ("distill.colearning.weight_decay=1e-4",),
    "without-second-round": ("distill.colearning.rounds=1",),
    "without-student": ("distill.colearning.ask_again=false",),
    "without-flips": ("eval.flip_average=false",),
    "with-ulwr": ("distill.weighting=ulwr",),
    "with-variance": ("distill.confidence_gamma=1",),
}
ARMS |= {name: (*ARMS["colearning"], *settings) for name, settings in PARTS.items()}
ALL = "all"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training run of the study. `boxes`: 0 for all."""

    set_name: str
    boxes: int
    draw: int
    arm: str

    @property
    def name(self) -> str:
        return f"{self.set_name}-{self.boxes or ALL}-{self.draw}-{self.arm}"


@dataclasses.dataclass(frozen=True)
class Study:
    """Where one set's cells are run. `part`: `judge` or `report`. `overrides`: settings of every
    cell, over the study's own. `teacher`: one to use instead of the one that they name."""

    set_name: str
    source: Path
    work: Path
    out: Path
    part: str = JUDGE
    overrides: tuple[str, ...] = ()
    teacher: Teacher | None = None

    def run(self, cell: Cell) -> None:
        """Prepare, distill and judge one cell; its file is there afterwards."""
        path = of_part(self.out, self.part) / f"{cell.name}.json"
        if is_there(path, of_distill_asked(self._settings(cell))):
            return
        say(f"cell {cell.name}")
        run, config = self.prepare(cell)
        student = run.root / f"student-{cell.arm}"
        watch = Stopwatch()
        run_distill(
            run, config.distill, seed=cell.draw, out=student, device="cpu", teacher=self.teacher
        )
        took = watch.seconds()
        judged = run_eval(
            run,
            config.eval,
            EvalRequest(student=student, out=run.root / f"eval-{cell.arm}"),
            seed=0,
        )
        told = {**dataclasses.asdict(cell), "part": self.part}
        write_json(path, told | _told(run, student, judged, took))
        say(f"{cell.name}: Dice {read_json(path)['dice_mean']:.3f}")

    def prepare(self, cell: Cell) -> tuple[RunDir, Config]:
        """The cell's RUN, prepared, with the encodings that the cells of a set share; and its
        settings."""
        config = self._config(cell)
        run = RunDir(self._runs / f"{cell.set_name}-{cell.boxes or ALL}-{cell.draw}")
        run_prepare(run, config.prepare, seed=cell.draw)
        self._share_encodings(run)
        return run, config

    @property
    def _runs(self) -> Path:
        return of_part(self.work, self.part)

    def _config(self, cell: Cell) -> Config:
        table = self.work / f"{self.set_name}-{self.part}.csv"
        if not table.exists():
            write_parts(table, self.source, SETS[self.set_name], self.part)
        prepare = (
            f"prepare.source={self.source}",
            f"prepare.groups={table}",
            f"prepare.test=part={self.part}",
            "prepare.val_fraction=0.0",
            f"prepare.box_count={cell.boxes}",
            *SETS[self.set_name].prepare,
        )
        return load_config(None, {}, [*prepare, *self._settings(cell)])

    def _settings(self, cell: Cell) -> list[str]:
        start = self._runs / f"{cell.set_name}-{START}-{cell.draw}" / "student-colearning"
        own = self._runs / f"{cell.set_name}-{cell.boxes or ALL}-{cell.draw}" / "student-colearning"
        arm = [setting.format(start=start, own=own) for setting in ARMS[cell.arm]]
        return [*DISTILL, *arm, *self.overrides]

    def _share_encodings(self, run: RunDir) -> None:
        shared = self.work / f"encodings-{self.set_name}"
        shared.mkdir(parents=True, exist_ok=True)
        run.teacher.mkdir(parents=True, exist_ok=True)
        link = run.teacher / "encodings"
        if not link.exists():
            link.symlink_to(shared.resolve(), target_is_directory=True)


def write_parts(table: Path, source: Path, study: StudySet, part: str) -> None:
    """Write the CSV `id,group,part` of the cases that are trained on and judged.

    The same whatever is boxed, so that draws and arms are compared on the same cases.
    """
    rows = _grouped(source, study)
    values = {"train": study.train, "judge": study.judge, "report": study.report}
    parts = [
        next((name for name, named in values.items() if value in named), "") for _, _, value in rows
    ]
    if not study.column:
        parts = ["train"] * len(rows)
    for name in ("report", "judge"):
        if not values[name]:
            parts = _drawn(rows, parts, name)
    most = {"train": study.most_train, part: JUDGED_CASES}
    kept = []
    for name, count in most.items():
        of_part = [row for row, is_in in zip(rows, parts, strict=True) if is_in == name]
        stays = take_cases([group for _, group, _ in of_part], count, 0, f"study's {name}")
        kept += [(*row[:2], name) for row, stay in zip(of_part, stays, strict=True) if stay]
    with (
        atomic_path(table) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([("id", "group", "part"), *kept])


def _grouped(source: Path, study: StudySet) -> list[tuple[str, str, str]]:
    """Id, group and value of each case; of a source without groups.csv, of each image."""
    listed = source / "groups.csv"
    if not listed.exists():
        return [(path.stem, path.stem, "") for path in sorted(source.glob("*.jpg"))]
    with listed.open(newline="", encoding="utf-8") as file:
        return [
            (row["id"], row.get(study.group) or row["id"], row.get(study.column, ""))
            for row in csv.DictReader(file)
        ]


def _drawn(rows: Sequence[tuple[str, str, str]], parts: Sequence[str], name: str) -> list[str]:
    """The parts after `name` has got as many training cases as are judged, whole groups first."""
    places = [place for place, part in enumerate(parts) if part == "train"]
    taken = take_cases([rows[place][1] for place in places], JUDGED_CASES, 0, f"study's {name}")
    moved = {place for place, is_taken in zip(places, taken, strict=True) if is_taken}
    return [name if place in moved else part for place, part in enumerate(parts)]


def _told(run: RunDir, student: Path, judged: Path, took: dict[str, int]) -> dict[str, Any]:
    """What a cell's file holds: scores a case, and what they cost."""
    with (judged / PER_CASE_CSV).open(newline="", encoding="utf-8") as file:
        scores = [row for row in csv.DictReader(file) if row["method"] == "student"]
    lesion = [row for row in scores if int(row["true_px"])]
    empty = [row for row in scores if not int(row["true_px"])]
    values = [float(row["dice"]) for row in lesion]
    record = read_json(student / RUN_JSON)
    cases = read_cases(run.data)
    return {
        "dice_mean": round(statistics.mean(values), 4),
        "found": round(statistics.mean(value > FOUND_FROM_DICE for value in values), 4),
        "no_pixel_hit": sum(value == 0 for value in values),
        "empty_cases": len(empty),
        "false_alarms": sum(int(row["pred_px"]) > 0 for row in empty),
        "unboxed": sum(case.split == "train" and case.annotation == "unknown" for case in cases),
        "believed": believed_quality(run, student),
        "seconds": took,
        "epochs": record["results"]["epochs"],
        "settings": _without_folders(record["settings"]),
        **circumstances(),
        "cases": [row["case_id"] for row in lesion],
        "groups": [row["group"] for row in lesion],
        "dice": [round(value, 4) for value in values],
    }


def _without_folders(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the student that was begun with named by its RUN: where RUNs lie is of one
    machine."""
    start = settings.get("warm_start")
    return {**settings, "warm_start": Path(start).parent.name} if start else settings


def believed_quality(run: RunDir, student: Path) -> dict[str, Any]:
    """How right the targets of unboxed images were, by the true masks: a look from outside.

    By source of the belief the count, and the mean Dice of those with a lesion; of images without
    one how many have a target with a lesion all the same.
    """
    if not (student / BELIEFS_NPZ).exists():
        return {}
    cases = {case.case_id: case for case in read_cases(run.data)}
    found: dict[str, list[float]] = {}
    alarms: list[bool] = []
    for case_id, (belief, *_) in load_beliefs(student).items():
        assert belief is not None
        mask = torch.from_numpy(read_mask(mask_path(run.data, cases[case_id])))
        truth = to_frame(mask[None, None].float(), len(belief.probs))[0, 0].numpy() > 0.5
        if truth.any():
            found.setdefault(belief.source, []).append(dice(belief.probs > 0.5, truth))
        else:
            alarms.append(bool((belief.probs > 0.5).any()))
    return {
        "dice": {
            source: {"cases": len(each), "mean": round(statistics.mean(each), 4)}
            for source, each in sorted(found.items())
        },
        "empty": {"cases": len(alarms), "with_target": sum(alarms)},
    }


def cells_of(set_name: str, boxes: str, draws: Sequence[int], arms: str) -> list[Cell]:
    """The cells that are asked for. Raises: ConfigError for what is not known."""
    for arm in arms.split(","):
        if arm not in ARMS:
            raise ConfigError(f"arm '{arm}' is not known{nearest(arm, ARMS)}")
    cells = []
    for draw in draws:
        for count in boxes.split(","):
            if count != ALL and not (count.isdigit() and int(count)):
                raise ConfigError(f"--boxes takes counts and 'all', as 20,50,all; got '{count}'")
            of_count = ["alone"] if count == ALL else arms.split(",")
            number = 0 if count == ALL else int(count)
            cells += [Cell(set_name, number, draw, arm) for arm in of_count]
    return cells


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    set_name: Annotated[str, typer.Argument(metavar="SET", help=f"One of {', '.join(SETS)}.")],
    source: Annotated[Path, typer.Argument(help="The set's folder.")],
    boxes: Annotated[str, typer.Option(help="Counts of boxed images, and 'all'.")] = "20,50,150",
    draws: Annotated[int, typer.Option(help="Draws of the boxed images: 0, 1, ...")] = 3,
    first_draw: Annotated[int, typer.Option(help="The draw to begin with.")] = 0,
    arms: Annotated[str, typer.Option(help="Which arms.")] = "alone,colearning",
    part: Annotated[
        str, typer.Option(help="'judge' to tune by, 'report' to be looked at once.")
    ] = JUDGE,
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Where RUNs lie.")] = Path("runs/few_boxes"),
    out: Annotated[Path, typer.Option(help="Where the cells' files go.")] = Path(
        "scripts/studies/few_boxes"
    ),
) -> None:
    with one_line_errors():
        if set_name not in SETS:
            raise ConfigError(f"set '{set_name}' is not known{nearest(set_name, SETS)}")
        if part not in (JUDGE, REPORT):
            raise ConfigError(f"--part is judge or report, got '{part}'")
        if first_draw >= draws:
            raise ConfigError(
                f"--first-draw {first_draw} leaves none of --draws {draws}: draws count from 0"
            )
        study = Study(set_name, source, work, out, part, tuple(overrides or ()))
        for cell in cells_of(set_name, boxes, range(first_draw, draws), arms):
            study.run(cell)


if __name__ == "__main__":
    app()
