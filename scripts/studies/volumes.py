"""How few slices of a volume need a box, and whether neighbouring slices help: by whole volumes.

Needs volumes with masks, to judge by. Takes about a quarter of an hour a cell on two cores.

    .venv/bin/python scripts/studies/volumes.py hippocampus data/hippocampus --seeds 3
    .venv/bin/python scripts/studies/volumes.py acdc data/acdc --arms all,every-3,every-3-alone
    .venv/bin/python scripts/studies/volumes.py acdc-mixed data/acdc --arms all,all-grid --seeds 3

A cell is one set, arm and seed:

    all             a box on every slice that shows the finding
    every-K         boxes on each K-th slice, carried to the others
    every-K-alone   the same boxes, nothing carried: what carrying is worth
    every-K-propose the same boxes; heads on the teacher's map propose on the other slices
    one             a box on one slice of each volume, the largest, carried
    ARM-context     the arm with one neighbour on each side as channels
    ARM-grid        the arm with all images on one size of pixels in mm (prepare.spacing_mm=auto)

The sets `acdc-mixed` and `acdc-new-scanner` show each patient of ACDC in a field of view drawn for it
(the latter judges by other fields than it trains on); every arm is judged on the pixels drawn there.

The masks judge and are read by nothing else. Every cell adds OUT/SET-ARM-SEED.json as it ends, and what
is there is not run again; RUNs lie in WORK. Of cells that are there already:

    .venv/bin/python scripts/studies/volumes.py --table scripts/studies/volumes
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import torch
import typer
from _cells import (
    SMALL_STUDENT,
    Stopwatch,
    circumstances,
    is_there,
    of_distill_asked,
    one_line_errors,
)
from _volume_sets import SETS, link_part, write_largest

from meddistill.base.console import console, say
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, nearest
from meddistill.base.files import read_json, write_json
from meddistill.colearning.beliefs import dice
from meddistill.data.frames import to_frame
from meddistill.data.masks import read_mask
from meddistill.evaluation.request import EvalRequest
from meddistill.evaluation.volumes import VolumeRow
from meddistill.run.layout import PER_VOLUME_CSV, QUALITY_CSV, RUN_JSON, RunDir
from meddistill.run.tables import Case, QualityRow, read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.layers import load_config
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.targets.cache import load_target
from meddistill.targets.packing import teaches
from meddistill.teachers.teacher import Teacher

# Typer reads annotations at run time.
# ruff: noqa: UP045

DISTILL = (
    *SMALL_STUDENT,
    "distill.batch_size=8",
    "distill.feature_weight=0.0",
    "distill.targets.views=whole",
    "distill.targets.jitter_copies=2",
    "distill.picture_every=0",
    "eval.baselines=false",
    "eval.gallery_cases=4",
)
RIGHT = 0.8
"""Dice from which a carried slice counts as right."""
CARRIED = "carried"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training run of the study."""

    set_name: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.set_name}-{self.arm}-{self.seed}"

    @property
    def boxed(self) -> str:
        """Which slices are boxed: `all`, `one` or `every-K`."""
        arm = self.arm.removesuffix("-grid").removesuffix("-context")
        return arm.removesuffix("-alone").removesuffix("-propose")

    @property
    def on_grid(self) -> bool:
        return self.arm.endswith("-grid")

    @property
    def every(self) -> int:
        """K of `every-K`, 0 for the others. Raises: ConfigError for an arm that is not known."""
        if self.boxed in ("all", "one"):
            return 0
        if not self.boxed.startswith("every-") or not self.boxed[6:].isdigit():
            known = nearest(self.arm, ("all", "one", "every-5", "every-5-alone", "all-context"))
            raise ConfigError(f"arm '{self.arm}' is not known{known}")
        return int(self.boxed[6:])


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
        """Prepare, distill and judge one cell; its file is there afterwards."""
        path = self.out / f"{cell.name}.json"
        if is_there(path, of_distill_asked(self._settings(cell))):
            return
        say(f"cell {cell.name}")
        run = self._prepared(cell)
        taught = self._distill(cell, run)
        judged = run_eval(
            run,
            self._config(cell).eval,
            EvalRequest(
                data=self._prepared(dataclasses.replace(cell, arm=cell.boxed)).data,
                student=taught[0],
                out=run.root / f"eval-{cell.arm}-{cell.seed}",
            ),
            seed=0,
        )
        write_json(path, {**dataclasses.asdict(cell), **self._told(run, *taught, judged)})
        say(f"{cell.name}: Dice of volumes {read_json(path)['dice_mean']:.3f}")

    def _prepared(self, cell: Cell) -> RunDir:
        """The RUN of the cell's boxes, which arms and seeds share."""
        name = f"{cell.set_name}-{cell.boxed}"
        run = RunDir(self.work / (f"{name}-grid" if cell.on_grid else name))
        extra: tuple[str, ...] = (f"prepare.box_every={cell.every}",)
        if cell.boxed == "one":
            table = self.work / f"{cell.set_name}-one.csv"
            if not table.exists():
                write_largest(table, self._prepared(dataclasses.replace(cell, arm="all")).data)
            extra = (f"prepare.boxes={table}",)
        if cell.on_grid:
            extra += ("prepare.spacing_mm=auto",)
        source = self.work / f"{self.set_name}-source"
        if not source.exists():
            link_part(source, self.source, SETS[self.set_name])
        settings = (
            f"prepare.source={source}",
            "prepare.test=part=judge",
            "prepare.val_fraction=0.0",
            "prepare.min_area_px=1",
            *extra,
        )
        run_prepare(run, self._config(cell, *settings).prepare, seed=0)
        return run

    def _distill(self, cell: Cell, run: RunDir) -> tuple[Path, dict[str, int]]:
        student = run.root / f"student-{cell.arm}-{cell.seed}"
        cases = [case for case in read_cases(run.data) if case.split == "train"]
        config = self._config(cell)
        if not any(each.startswith("distill.epochs=") for each in self.overrides):
            drawn = len(cases) if cell.boxed != "one" and not cell.every else len(cases) // 2
            epochs = max(1, round(SETS[self.set_name].steps * config.distill.batch_size / drawn))
            config = self._config(cell, f"distill.epochs={epochs}")
        watch = Stopwatch()
        run_distill(
            run, config.distill, seed=cell.seed, out=student, device="cpu", teacher=self.teacher
        )
        return student, watch.seconds()

    def _config(self, cell: Cell, *settings: str) -> Any:
        return load_config(None, {}, self._settings(cell, *settings))

    def _settings(self, cell: Cell, *settings: str) -> list[str]:
        unboxed = "carry" if cell.boxed != "all" else "detected"
        unboxed = "ignore" if "-alone" in cell.arm else unboxed
        unboxed = "propose" if "-propose" in cell.arm else unboxed
        arm = [f"distill.colearning.unboxed={unboxed}"]
        if unboxed in ("ignore", "propose"):
            arm += [f"distill.colearning.steps={SETS[cell.set_name].steps}"]
        if "-context" in cell.arm:
            arm += ["distill.context=1"]
        own = SETS[cell.set_name].settings
        return [*DISTILL, *own, *arm, *settings, *self.overrides]

    def _told(
        self, run: RunDir, student: Path, took: dict[str, int], judged: Path
    ) -> dict[str, Any]:
        """What a cell's file holds: scores a volume, how right what was carried is, the cost."""
        rows = [r for r in read_table(judged / PER_VOLUME_CSV, VolumeRow) if r.method == "student"]
        record = read_json(student / RUN_JSON)
        cases = [case for case in read_cases(run.data) if case.split == "train"]
        return {
            "dice_mean": round(statistics.mean(row.dice for row in rows), 4),
            "volumes": [row.volume for row in rows],
            "dice": [round(row.dice, 4) for row in rows],
            "hd95_mm": [row.hd95_mm for row in rows],
            "boxed_slices": sum(case.annotation == "boxes" for case in cases),
            "training_slices": len(cases),
            "carried": carried_quality(run),
            "prompt_sources": record["results"]["prompt_sources"],
            "seconds": took,
            "epochs": record["results"]["epochs"],
            "settings": record["settings"],
            **circumstances(),
        }


def carried_quality(run: RunDir) -> dict[str, Any]:
    """How right carried targets are, by the true masks: a look from outside. By distance from the next
    boxed slice: how many show the finding, the share of those with a Dice above .8, the mean Dice, and
    how many do not show it; of slices learnt as empty how many are not."""
    cases = {case.case_id: case for case in read_cases(run.data)}
    rows = [r for r in read_table(run.teacher / QUALITY_CSV, QualityRow) if teaches(r)]
    boxed = {r.case_id for r in rows if r.prompt_source == "annotated" and r.n_boxes}
    found: dict[int, list[float]] = {}
    alarms: dict[int, int] = {}
    empty = {"learnt": 0, "wrong": 0}
    for row in rows:
        if row.prompt_source != CARRIED:
            continue
        case = cases[row.case_id]
        truth = read_mask(mask_path(run.data, case))
        if not row.n_boxes:
            empty["learnt"] += 1
            empty["wrong"] += bool(truth.any())
            continue
        target = load_target(run.teacher, row.case_id, row.key).probs > 0.5
        distance = _distance(case, boxed, cases.values())
        if truth.any():
            framed = to_frame(torch.from_numpy(truth)[None, None].float(), len(target))[0, 0]
            found.setdefault(distance, []).append(dice(target, framed.numpy() > 0.5))
        else:
            alarms[distance] = alarms.get(distance, 0) + 1
    return {
        "by_distance": {
            str(distance): {
                "slices": len(own := found.get(distance, [])),
                "right": round(statistics.mean(value > RIGHT for value in own), 4) if own else None,
                "dice": round(statistics.mean(own), 4) if own else None,
                "beyond": alarms.get(distance, 0),
            }
            for distance in sorted(found.keys() | alarms.keys())
        },
        "empty": empty,
    }


def _distance(case: Case, boxed: set[str], cases: Iterable[Case]) -> int:
    places = [c.slice or 0 for c in cases if c.volume == case.volume and c.case_id in boxed]
    return min(abs((case.slice or 0) - place) for place in places) if places else 0


def cells_of(set_name: str, arms: str, seeds: Sequence[int]) -> list[Cell]:
    """The cells that are asked for. Raises: ConfigError for an arm that is not known."""
    cells = [Cell(set_name, arm, seed) for seed in seeds for arm in arms.split(",")]
    for cell in cells:
        _ = cell.every
    return cells


def table_of(out: Path) -> str:
    """The cells that are there as rows of a Markdown table: an arm's mean over seeds, what it is of
    `all`, and the share of carried slices that are right."""
    cells = [read_json(path) for path in sorted(out.glob("*.json"))]
    lines = ["| set | arm | seeds | boxed slices | Dice of volumes | of `all` | carried right |"]
    lines.append("|---|---|---|---|---|---|---|")
    means: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        means.setdefault((cell["set_name"], cell["arm"]), []).append(cell)
    for (name, arm), own in means.items():
        mean = statistics.mean(cell["dice_mean"] for cell in own)
        whole = means.get((name, "all"))
        reach = statistics.mean(cell["dice_mean"] for cell in whole) if whole else 0.0
        share = mean / reach if reach else None
        told = [
            f"{part['right']:.2f} at {distance} ({part['slices']})"
            for distance, part in own[0]["carried"]["by_distance"].items()
            if part["right"] is not None
        ]
        of_all = "-" if share is None else f"{share:.3f}"
        lines.append(
            f"| {name} | {arm} | {len(own)} | {own[0]['boxed_slices']} of "
            f"{own[0]['training_slices']} | {mean:.3f} | {of_all} | {', '.join(told) or '-'} |"
        )
    return "\n".join(lines)


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    set_name: Annotated[
        Optional[str], typer.Argument(metavar="SET", help=f"One of {', '.join(SETS)}.")
    ] = None,
    source: Annotated[Optional[Path], typer.Argument(help="The set's folder.")] = None,
    arms: Annotated[str, typer.Option(help="Which arms.")] = "all,every-5,one",
    seeds: Annotated[int, typer.Option(help="Seeds: 0, 1, ...")] = 1,
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Where RUNs lie.")] = Path("runs/volumes"),
    out: Annotated[Path, typer.Option(help="Where the cells' files go.")] = Path(
        "scripts/studies/volumes"
    ),
    table: Annotated[
        Optional[Path], typer.Option(help="Print the table of the cells in a folder instead.")
    ] = None,
) -> None:
    with one_line_errors():
        if table is not None:
            console.print(table_of(table), markup=False, soft_wrap=True)
            return
        if set_name not in SETS or source is None:
            raise ConfigError(f"set '{set_name}' is not known{nearest(set_name or '', SETS)}")
        study = Study(set_name, source, work, out, tuple(overrides or ()))
        for cell in cells_of(set_name, arms, range(seeds)):
            study.run(cell)


if __name__ == "__main__":
    app()
