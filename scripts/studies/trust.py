"""How far what a student says of itself is to be trusted: on real data, judged by masks that fit nothing.

Needs a data set with masks. The teacher's pass takes a second an image, once a set; then a cell takes
about ten minutes on one core: training, calibration with the teacher's opinion (a second a validation
image), judging (a second a test image, for the opinion).

    .venv/bin/python scripts/studies/trust.py brain data/brain_tumor --seeds 2 \\
        --far "skin=data/isic2018/*.jpg" --far colonoscopy=data/kvasir/images \\
        --near "cardiac MRI=data/acdc/images" --near hippocampus=data/hippocampus/imagesTr
    .venv/bin/python scripts/studies/trust.py busi data/busi --folds 0,1,2,3,4
    .venv/bin/python scripts/studies/trust.py isic data/isic2018 --seeds 2
    .venv/bin/python scripts/studies/trust.py run runs/mine --no-ask-teacher

A cell is one set, fold and seed (of `run`, a student that is there, and takes a minute or two). It
adds OUT/NAME.json as it ends, and what is there is not run again; what was done of a cell that was
stopped is kept in WORK. A cell holds, of test images: expected Dice beside the true one by the
student alone and with the teacher's opinion, rejection of the worst fifth beside an oracle and plain
confidence, calibration around lesions and everywhere, odds that anything is there, the gain of
--refine, and the share of images that are flagged, with what they do to the Dice: own, foreign (far
and near), spoiled, and with another look. Of cells that are there already, the README's table:

    .venv/bin/python scripts/studies/trust.py --table scripts/studies/trust
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

from _cells import SMALL_STUDENT, Stopwatch, circumstances, is_there, one_line_errors, read_cells

# isort: split
import typer
from _findings_sets import STUDENT as ANY_ARM
from _findings_sets import StudySet, write_parts
from _trust_judge import OwnImages, asked, flags
from _trust_table import make_table

from meddistill.base.console import say
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, InputError, nearest
from meddistill.base.files import read_json, write_json
from meddistill.colearning.second_opinion import TeacherOpinion, opinion_of_trust
from meddistill.evaluation.foreign import foreign_folders
from meddistill.evaluation.request import EvalRequest
from meddistill.evaluation.scores import ScoreRow
from meddistill.run.layout import PER_CASE_CSV, RUN_JSON, SUMMARY_JSON, RunDir
from meddistill.settings.config import Config
from meddistill.settings.layers import load_config
from meddistill.stages.calibrate import run_calibrate
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.student.student import load_student
from meddistill.teachers.teacher import Teacher

# Typer reads annotations at run time.
# ruff: noqa: UP045

DISTILL = (
    *SMALL_STUDENT,
    "distill.image_size=128",
    "distill.epochs=16",
    "distill.batch_size=16",
    "distill.lr=1e-3",
    "distill.feature_weight=0.0",
    "distill.targets.views=whole",
    "distill.targets.jitter_copies=2",
    "eval.baselines=false",
)
MOST = (300, 150, 200)
"""Images of training, validation and test at most, whole groups first."""
FOLDS = 5
EXISTING = "run"
SETS = {
    "brain": StudySet("", ("1", "2"), ("3",), ("4",), "fold", "series", MOST),
    "busi": StudySet("", column="fold", group="group", most=(500, 200, 200)),
    "isic": StudySet("", most=MOST),
}
CROSSED = ("busi",)
"""Sets whose folds take turns: each is the test once, the next one validation."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One student that is judged. `fold`: of a crossed set the one that is judged."""

    set_name: str
    seed: int
    fold: int | None = None

    @property
    def data(self) -> str:
        return self.set_name if self.fold is None else f"{self.set_name}-{self.fold}"

    @property
    def name(self) -> str:
        return f"{self.data}-{self.seed}"


@dataclasses.dataclass(frozen=True)
class Study:
    """Where one set's cells are run. `far`, `near`: NAME=FOLDER of foreign images. `ask`: also the
    teacher. `overrides`: settings of every cell, over the study's own. `teacher`: one to use instead
    of the one that they name."""

    source: Path
    work: Path
    out: Path
    far: Sequence[str] = ()
    near: Sequence[str] = ()
    ask: bool = True
    overrides: tuple[str, ...] = ()
    teacher: Teacher | None = None

    def run(self, cell: Cell) -> None:
        """Prepare, distill, calibrate and judge one cell; its file is there afterwards."""
        path, settings = self.out / f"{cell.name}.json", [*DISTILL, *self.overrides]
        if is_there(path, settings):
            return
        say(f"cell {cell.name}")
        watch = Stopwatch()
        config = self._config(cell)
        run = self._prepared(cell, config)
        student = run.root / f"student-{cell.seed}"
        run_distill(
            run, config.distill, seed=cell.seed, device="cpu", out=student, teacher=self.teacher
        )
        told = self.judge(run, student, run.root / f"eval-{cell.seed}", config)
        about = {**dataclasses.asdict(cell), "settings": settings, "seconds": watch.seconds()}
        write_json(path, {**about, **told, **circumstances()})
        say(f"judged: {path}")

    def run_existing(self, student: Path) -> None:
        """Judge a student that is there."""
        run = RunDir(self.source)
        name = f"{run.root.resolve().name}-{student.resolve().name}"
        path = self.out / f"{name}.json"
        if path.exists():
            return
        config = load_config(None, {}, ["eval.baselines=false", *self.overrides])
        told = self.judge(run, student, self.work / f"eval-{name}", config)
        about = {"set_name": name, "seed": 0, "fold": None}
        write_json(path, {**about, **told, **circumstances()})
        say(f"judged: {path}")

    def judge(self, run: RunDir, directory: Path, out: Path, config: Config) -> dict[str, Any]:
        """All figures of a student."""
        student = load_student(directory)
        if student.trust is None:
            raise InputError(f"{directory} does not know itself: run `meddistill calibrate` first")
        if (count := len(student.preprocessing.findings)) > 1:
            raise InputError(
                f"{directory} knows {count} findings, the study judges one: give a student of one"
            )
        opinion = None
        if self.ask:
            if student.trust.teacher is None:
                run_calibrate(
                    run, student_dir=directory, ask_teacher=True, device="cpu", teacher=self.teacher
                )
                student = load_student(directory)
            assert student.trust is not None
            opinion = (
                opinion_of_trust(student.trust, directory, "cpu")
                if self.teacher is None
                else TeacherOpinion(self.teacher, self.teacher.logit_shift)
            )
        run_eval(run, config.eval, EvalRequest(student=directory, out=out), seed=0)
        summary = read_json(out / SUMMARY_JSON)["of_itself"]
        rows = [row for row in read_table(out / PER_CASE_CSV, ScoreRow) if row.method == "student"]
        told = next(iter(summary["by_finding"].values()))
        del told["curves"], told["froc"]
        for parts in told["calibration"].values():
            for each in parts.values():
                del each["curve"]
        own = OwnImages.of(run, rows)
        return {
            **told,
            "fitted_on": summary["fitted_on"],
            "odds": [[row.p_finding, int(row.true_px > 0)] for row in rows],
            "asked": None if opinion is None else asked(student, own, opinion),
            "flags": flags(student, own, self.far, self.near),
        }

    def _config(self, cell: Cell) -> Config:
        table = self.work / f"{cell.data}.csv"
        if not table.exists():
            write_parts(table, self.source, _study_set(cell), ANY_ARM)
        prepare = (
            f"prepare.source={self.source}",
            f"prepare.groups={table}",
            "prepare.test=part=test",
            "prepare.val=part=val",
            "prepare.resplit=true",
            "prepare.accept=[mostly-rejected]",
        )
        return load_config(None, {}, [*prepare, *DISTILL, *self.overrides])

    def _prepared(self, cell: Cell, config: Config) -> RunDir:
        """The RUN of the cell, whose teacher's answers are those of all RUNs of the set."""
        run = RunDir(self.work / cell.data)
        if not (run.data / RUN_JSON).exists():
            run_prepare(run, config.prepare, seed=0)
        shared = self.work / f"targets-{cell.set_name}"
        shared.mkdir(parents=True, exist_ok=True)
        run.teacher.mkdir(parents=True, exist_ok=True)
        link = run.teacher / "targets"
        if not link.exists():
            link.symlink_to(shared.resolve(), target_is_directory=True)
        return run


def _study_set(cell: Cell) -> StudySet:
    study = SETS[cell.set_name]
    if cell.fold is None:
        return study
    val = (cell.fold + 1) % FOLDS
    train = tuple(str(fold) for fold in range(FOLDS) if fold not in (cell.fold, val))
    return dataclasses.replace(study, train=train, val=(str(val),), test=(str(cell.fold),))


def cells_of(set_name: str, seeds: int, folds: str) -> list[Cell]:
    """The cells that are asked for. Raises: ConfigError for what is not known."""
    if set_name not in SETS:
        raise ConfigError(f"set '{set_name}' is not known{nearest(set_name, [*SETS, EXISTING])}")
    if set_name not in CROSSED:
        return [Cell(set_name, seed) for seed in range(seeds)]
    numbers = folds.split(",")
    if any(not number.isdigit() or int(number) >= FOLDS for number in numbers):
        raise ConfigError(f"--folds takes numbers below {FOLDS}, as 0,1,2; got '{folds}'")
    return [Cell(set_name, seed, int(number)) for seed in range(seeds) for number in numbers]


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    set_name: Annotated[
        Optional[str], typer.Argument(metavar="SET", help=f"One of {', '.join(SETS)}, or run.")
    ] = None,
    source: Annotated[
        Optional[Path], typer.Argument(help="The set's folder; of `run` the RUN.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds: 0, 1, ...")] = 1,
    folds: Annotated[str, typer.Option(help="Of busi: which are judged.")] = "0,1,2,3,4",
    student: Annotated[
        Optional[Path], typer.Option(help="Of `run`: its directory, in place of RUN/student.")
    ] = None,
    far: Annotated[
        Optional[list[str]], typer.Option(help="NAME=FOLDER of images of something else.")
    ] = None,
    near: Annotated[
        Optional[list[str]], typer.Option(help="NAME=FOLDER of images that look alike.")
    ] = None,
    ask_teacher: Annotated[
        bool, typer.Option("--ask-teacher/--no-ask-teacher", help="Its opinion, too.")
    ] = True,
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Where RUNs lie.")] = Path("runs/trust"),
    out: Annotated[Path, typer.Option(help="Where the cells' files go.")] = Path(
        "scripts/studies/trust"
    ),
    table_of: Annotated[
        Optional[Path], typer.Option("--table", help="Only print the table of this folder.")
    ] = None,
) -> None:
    with one_line_errors():
        if table_of is None:
            if set_name is None or source is None:
                raise ConfigError("give a SET and its folder, or a folder of cells as --table")
            for option, given in (("--far", far), ("--near", near)):
                foreign_folders(given or (), option)  # said now, not after the training
            study = Study(
                source,
                work,
                out,
                far or (),
                near or (),
                ask_teacher,
                tuple(overrides or ()),
            )
            if set_name == EXISTING:
                study.run_existing(student or source / "student")
            else:
                for cell in cells_of(set_name, seeds, folds):
                    study.run(cell)
        typer.echo(make_table(read_cells(table_of or out)))
    sys.exit(0)


if __name__ == "__main__":
    app()
