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

import csv
import dataclasses
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import numpy as np
import torch
import typer
from _cells import SMALL_STUDENT, Stopwatch, circumstances, one_line_errors, read_cells
from supervised_twin import train_twin, true_planes

from meddistill.base import console
from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import ConfigError, nearest
from meddistill.base.files import read_json, write_json
from meddistill.data.findings import Findings
from meddistill.data.frames import from_frame
from meddistill.data.prepare.listing import list_source
from meddistill.data.prepare.splits import seeded_order, take_cases
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import CASES_CSV, RUN_JSON, RunDir
from meddistill.run.tables import Case
from meddistill.settings.config import Config
from meddistill.settings.layers import load_config
from meddistill.stages.distill import run_distill
from meddistill.stages.prepare import run_prepare
from meddistill.student.student import load_student
from meddistill.targets.cache import load_target
from meddistill.targets.making import TargetMaker
from meddistill.targets.prompts import ANNOTATED
from meddistill.targets.requests import TargetRequest
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
NOTHING = "nothing"
PARTS = ("train", "val", "test")
_SLICE = re.compile(r"(_slice)?_z?\d+$")
"""The end of a slice's name; what is before it names the volume."""


@dataclasses.dataclass(frozen=True)
class StudySet:
    """One data set. `column` of its groups.csv says which part a case is in, by the values in
    `train`, `val` and `test`; without one, groups (volumes) are drawn. `most`: images of each part
    at most; of drawn ones groups. `whole_volumes`: a unit of judging is a volume, not an image."""

    findings: str
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    column: str = ""
    group: str = ""
    most: tuple[int, int, int] = (600, 150, 300)
    whole_volumes: bool = False
    settings: tuple[str, ...] = ("distill.image_size=128", "distill.epochs=20")


SETS = {
    "hippocampus": StudySet(
        "Anterior=1,Posterior=2",
        most=(16, 4, 16),
        whole_volumes=True,
        settings=(
            "distill.empty_slices=1.0",
            "distill.image_size=64",
            "distill.epochs=24",
        ),
    ),
    "acdc": StudySet(
        "right ventricle=1,myocardium=2,left ventricle=3",
        *(("train",), ("val",), ("test",)),
        column="split",
        group="patient",
        whole_volumes=True,
        most=(450, 90, 400),
    ),
    "brain": StudySet(
        "from-class", ("1", "2"), ("3",), ("4",), "fold", "series", most=(600, 150, 400)
    ),
    "busi": StudySet("from-class", ("0", "1", "2"), ("3",), ("4",), "fold", "group"),
}
STUDENT, TWIN, TEACHER, BINARY = "student", "twin", "teacher", "binary"
HALVES, BOTH, AS_BACKGROUND = "halves", "both", "background"
ARMS = (STUDENT, TWIN, TEACHER, BINARY, HALVES, BOTH, AS_BACKGROUND)
DATA_OF = {STUDENT: "all", TWIN: "all", TEACHER: "all"}
"""Which prepared data an arm learns from, where not those of its own name."""


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
        if path.exists():
            return
        console.say(f"cell {cell.name}")
        config = self._config(cell)
        run = self._prepared(cell, config)
        watch = Stopwatch()
        learned: dict[str, Any] = {}
        if cell.arm == TEACHER:
            guess = self._teacher_with_true_boxes(run, config)
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
            guess = _of_student(run, student)
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
            "settings": [*self._settings(), *self.overrides],
            **circumstances(),
        }
        write_json(path, told)
        console.say(f"{cell.name}: " + _in_short(told))

    def _settings(self) -> tuple[str, ...]:
        return (*DISTILL, *SETS[self.set_name].settings)

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
        return load_config(None, {}, [*prepare, *self._settings(), *self.overrides])

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

    def _teacher_with_true_boxes(self, run: RunDir, config: Config) -> Guesser:
        """Masks of the teacher that is given the boxes of judged images, as it is asked for targets;
        of each finding its own, also where two hold a pixel."""
        findings, dataset = read_findings(run.data), Dataset.open(run.data)
        teacher = self.teacher or load_teacher(config.distill.teacher, device="cpu")
        scratch = self.work / f"true-boxes-{self.set_name}"
        maker = TargetMaker(teacher, dataset, scratch, config.distill.targets)
        requests = []
        for case in dataset.of_split("test"):
            boxes, which = annotated_findings(run.data, case)
            requests += [
                TargetRequest(
                    case,
                    boxes[which == place],
                    ANNOTATED,
                    max(case.width, case.height),
                    finding=findings.tag(place),
                )
                for place in range(len(findings))
            ]
        rows = {(row.case_id, row.finding): row for row in maker.make(requests)}

        def guess(case: Case) -> np.ndarray:
            probs = np.zeros((len(findings), case.height, case.width), np.float32)
            for place in range(len(findings)):
                row = rows.get((case.case_id, findings.tag(place)))
                if row is not None:
                    found = torch.from_numpy(load_target(scratch, row.case_id, row.key).probs)
                    size_hw = (case.height, case.width)
                    probs[place] = from_frame(found[None, None], size_hw)[0, 0].numpy()
            return probs > 0.5

        return guess


Guesser = Callable[[Case], np.ndarray]
"""From a case to its planes, bool (C, H, W)."""


def _of_student(run: RunDir, directory: Path) -> Guesser:
    student, dataset = load_student(directory), Dataset.open(run.data)
    findings = student.preprocessing.findings

    def guess(case: Case) -> np.ndarray:
        mask = student.predict(dataset.seen(case, student.preprocessing.context)).mask
        return mask[None] > 0 if findings.is_one else findings.decode(mask)

    return guess


def judge(run: RunDir, guess: Guesser, whole_volumes: bool) -> dict[str, Any]:
    """What guesses are worth on the test cases: by finding the mean Dice over the units that show
    it, false alarms over the others; `confusion`: of units that show a finding (rows), which one
    most of it was taken for, or nothing; and the Dice of each unit."""
    findings, dataset = read_findings(run.data), Dataset.open(run.data)
    pixels: dict[str, _Pixels] = {}
    tests = dataset.of_split("test")
    for case in console.track(tests, "judge", len(tests)):
        name = _SLICE.sub("", case.case_id) if whole_volumes else case.case_id
        found = _pixels(run, case, guess(case), findings)
        if name in pixels:
            pixels[name].add(found)
        else:
            pixels[name] = found
    told: dict[str, Any] = {"units": len(pixels), "findings": {}, "confusion": {}}
    for place, finding in enumerate(findings.names):
        scores = {name: each.dice(place) for name, each in pixels.items() if each.true[place]}
        without = [each for each in pixels.values() if not each.true[place]]
        told["findings"][finding] = {
            "dice": round(statistics.mean(scores.values()), 4) if scores else None,
            "units": len(scores),
            "not_found": sum(value == 0 for value in scores.values()),
            "false_alarms": sum(bool(each.guessed[place]) for each in without),
            "without": len(without),
            "each": {name: round(value, 4) for name, value in scores.items()},
        }
        taken = [_taken_for(each, place, findings) for each in pixels.values()]
        names = (*findings.names, NOTHING)
        told["confusion"][finding] = {name: taken.count(name) for name in names}
    empty = [each for each in pixels.values() if not each.true.any()]
    told["healthy"] = {
        "units": len(empty),
        "false_alarms": sum(bool(each.guessed.any()) for each in empty),
    }
    known = [of["dice"] for of in told["findings"].values() if of["dice"] is not None]
    told["dice_mean"] = round(statistics.mean(known), 4)
    return told


@dataclasses.dataclass
class _Pixels:
    """Pixels of one unit. `shared`: of each true finding (rows; last: none) those guessed to be each
    (columns; last: none), (C + 1, C + 1); `true`, `guessed`: of each finding, (C,)."""

    shared: np.ndarray
    true: np.ndarray
    guessed: np.ndarray

    def add(self, other: _Pixels) -> None:
        self.shared += other.shared
        self.true += other.true
        self.guessed += other.guessed

    def dice(self, place: int) -> float:
        return float(2 * self.shared[place, place] / (self.true[place] + self.guessed[place]))


def _pixels(run: RunDir, case: Case, guess: np.ndarray, findings: Findings) -> _Pixels:
    truth = true_planes(run, case, findings)
    both = [np.concatenate([each, ~each.any(0, keepdims=True)]) for each in (truth, guess)]
    rows, columns = (each.reshape(len(findings) + 1, -1).astype(np.int64) for each in both)
    return _Pixels(rows @ columns.T, truth.sum((1, 2)), guess.sum((1, 2)))


def _taken_for(pixels: _Pixels, place: int, findings: Findings) -> str:
    """What most of a true finding was taken for; empty where it is not there."""
    if not pixels.true[place]:
        return ""
    found = pixels.shared[place, : len(findings)]
    return findings.names[int(found.argmax())] if found.any() else NOTHING


def write_parts(table: Path, source: Path, study: StudySet, arm: str) -> None:
    """Write the CSV `id,group,part,findings` of the cases that are trained on and judged; of `halves`
    and `background` with the finding that is looked for in each, of `both` every second group of
    training and validation alone.

    The same cases for every seed, and of training those of `halves` for all that are compared.
    """
    config = load_config(
        None, {}, [f"prepare.source={source}", "prepare.accept=[mostly-rejected]"]
    ).prepare
    listed = list_source(source, config, 0).cases
    values = {"train": study.train, "val": study.val, "test": study.test}
    rows = []
    for case in listed:
        group = case.columns.get(study.group) or case.group or case.name
        parts = [name for name, named in values.items() if case.columns.get(study.column) in named]
        rows.append((case.name, group, parts[0] if parts else ""))
    kept = _drawn(rows, study) if not study.column else _thinned(rows, study)
    names = [each.partition("=")[0] for each in study.findings.split(",")]
    turns = {
        (part, group): turn
        for part in ("train", "val")
        for turn, group in enumerate(sorted({group for _, group, of in kept if of == part}))
    }
    lines = []
    for name, group, part in kept:
        turn = turns.get((part, group))
        looked_for = ""
        if turn is not None and arm in (HALVES, AS_BACKGROUND):
            looked_for = names[turn % 2]
        if turn is None or arm != BOTH or turn % 2:
            lines.append((name, group, part, looked_for))
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "group", "part", "findings"), *lines])


Row = tuple[str, str, str]
"""Id, group and part of a case."""


def _drawn(rows: Sequence[Row], study: StudySet) -> list[Row]:
    """Whole groups for each part, in a seeded order."""
    order = seeded_order({group for _, group, _ in rows}, 0, "study")
    part_of = {}
    for part, most in zip(PARTS, study.most, strict=True):
        part_of.update(dict.fromkeys(order[:most], part))
        order = order[most:]
    return [(name, group, part_of[group]) for name, group, _ in rows if group in part_of]


def _thinned(rows: Sequence[Row], study: StudySet) -> list[Row]:
    """At most so many cases of each part, whole groups in a seeded order."""
    kept: list[Row] = []
    for part, most in zip(PARTS, study.most, strict=True):
        of_part = [row for row in rows if row[2] == part]
        stays = take_cases([group for _, group, _ in of_part], most, 0, f"study's {part}")
        kept += [row for row, stay in zip(of_part, stays, strict=True) if stay]
    return kept


def forget_what_was_looked_for(run: RunDir) -> None:
    """Take what nobody looked for as absent, as a tool does that knows boxes alone."""
    cases = read_table(run.data / CASES_CSV, Case)
    write_table(
        run.data / CASES_CSV, Case, [dataclasses.replace(case, findings="") for case in cases]
    )


def _counts(run: RunDir) -> dict[str, int]:
    cases = read_table(run.data / CASES_CSV, Case)
    return {split: sum(case.split == split for case in cases) for split in PARTS}


def _in_short(told: Mapping[str, Any]) -> str:
    dice = ", ".join(f"{name} {of['dice']}" for name, of in told["findings"].items())
    return f"Dice {dice}; {told['seconds']['wall']} s"


def make_table(cells: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, a line a set, finding and arm: means over the seeds, each seed's Dice."""
    lines = [
        "| set | finding | arm | Dice | each seed | units | not found | false alarms "
        "| minutes a cell |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for set_name in SETS:
        of_set = [cell for cell in cells if cell["set_name"] == set_name]
        names = dict.fromkeys(name for cell in of_set for name in cell["findings"])
        for finding in names:
            for arm in ARMS:
                of_arm = [c for c in of_set if c["arm"] == arm and finding in c["findings"]]
                if of_arm:
                    lines.append(_line(set_name, finding, arm, of_arm))
    return "\n".join(lines) + "\n" + _confusions(cells)


def _line(set_name: str, finding: str, arm: str, cells: Sequence[dict[str, Any]]) -> str:
    told = [cell["findings"][finding] for cell in cells]
    dice = [of["dice"] for of in told if of["dice"] is not None]
    seeds = ", ".join(f"{value:.3f}" for value in dice) if len(dice) > 1 else ""
    alarms = ", ".join(str(of["false_alarms"]) for of in told)
    minutes = statistics.mean(cell["seconds"]["wall"] for cell in cells) / 60
    return " | ".join(
        [
            f"| {set_name}",
            finding,
            arm,
            f"{statistics.mean(dice):.3f}" if dice else "",
            seeds,
            str(told[0]["units"]),
            ", ".join(str(of["not_found"]) for of in told),
            f"{alarms} of {told[0]['without']}" if told[0]["without"] else "",
            f"{minutes:.0f} |",
        ]
    )


def _confusions(cells: Iterable[dict[str, Any]]) -> str:
    """What findings were taken for, of each set's first student of several."""
    text = ""
    seen = set()
    for cell in cells:
        if cell["arm"] != STUDENT or cell["set_name"] in seen or len(cell["findings"]) < 2:
            continue
        seen.add(cell["set_name"])
        names = [*cell["findings"], NOTHING]
        text += f"\n| {cell['set_name']}: is, taken for | {' | '.join(names)} |\n"
        text += "|---" * (len(names) + 1) + "|\n"
        for name, row in cell["confusion"].items():
            text += f"| {name} | {' | '.join(str(row[other]) for other in names)} |\n"
        healthy = cell["healthy"]
        if healthy["units"]:
            text += f"\n{healthy['false_alarms']} false alarms on {healthy['units']} without any\n"
    return text


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
