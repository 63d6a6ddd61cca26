"""What few validation boxes are good for: choosing the epoch, the threshold, both or neither.

Needs a data set with masks, to judge by. Takes as long as a cell of `few_boxes.py`, and two seconds a
judged image for the teacher's answer to its true box.

    .venv/bin/python scripts/studies/few_judges.py brain data/brain_tumor --boxes 50 --draws 2

A student is trained as a cell of `few_boxes.py` is, and what it is after each epoch is kept. Then some of
the judged images stand for validation: whole groups at random until so many images are there, four
hundred times. By their targets (the teacher's answers to their boxes, as in `distill`) they choose, and
the true masks of all others say what that was worth. Every draw adds OUT/SET-BOXES-DRAW-ARM.json as it
ends, and what is there is not run again. Of what is there already:

    .venv/bin/python scripts/studies/few_judges.py --table scripts/studies/few_judges
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Optional

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import few_boxes
import numpy as np
import torch
import typer
from _cells import JUDGE, circumstances, one_line_errors, read_cells
from few_boxes import SETS, Cell, Study, write_parts

from meddistill.base.console import say
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, nearest
from meddistill.base.files import write_json
from meddistill.data.frames import to_frame
from meddistill.data.masks import read_mask
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.layout import QUALITY_CSV, RunDir
from meddistill.run.tables import QualityRow
from meddistill.run.true_masks import mask_path
from meddistill.settings.layers import load_config
from meddistill.stages.distill import run_distill
from meddistill.stages.prepare import run_prepare
from meddistill.student.student import load_network
from meddistill.targets.cache import TargetFolders
from meddistill.targets.packing import Packing, pack_targets
from meddistill.training import state
from meddistill.training.fabric import make_fabric
from meddistill.training.losses import soft_dice_agreement
from meddistill.training.packed_cases import PackedCases
from meddistill.training.selection import THRESHOLDS, predict_probs, threshold_of

# Typer reads annotations at run time.
# ruff: noqa: UP045

COUNTS, TRIES = (3, 5, 10, 20, 40), 400
HALF = THRESHOLDS.index(0.5)
FEW_TRAINED = 8
"""Training images of the RUN whose validation part is judged: what is trained there is not used."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of E epochs, T thresholds and N judged cases: `soft` (E, N) of the student's maps with the
    targets, `with_target` and `with_truth` (E, T, N) of its masks, Dice in the frame; `groups` (N,)."""

    soft: np.ndarray
    with_target: np.ndarray
    with_truth: np.ndarray
    groups: np.ndarray


RULES = {
    "neither": (False, False),
    "epoch": (True, False),
    "threshold": (False, True),
    "both": (True, True),
}
"""What validation chooses: epoch, threshold."""


@contextmanager
def every_epoch_kept() -> Iterator[None]:
    """What the student is after each epoch stays in `epochs` below it."""
    finish = state.TrainingState.finish_epoch

    def kept(self: state.TrainingState, row: Any) -> None:
        finish(self, row)
        (self.out / "epochs").mkdir(exist_ok=True)
        torch.save(self.best["state"], self.out / "epochs" / f"{row.epoch:03d}.pt")

    state.TrainingState.finish_epoch = kept  # type: ignore[method-assign]
    try:
        yield
    finally:
        state.TrainingState.finish_epoch = finish  # type: ignore[method-assign]


def trained(study: Study, cell: Cell) -> Path:
    """The student of a cell, with all its epochs. Without validation the newest is kept each time."""
    run, config = study.prepare(cell)
    out = run.root / f"student-{cell.arm}-epochs"
    with every_epoch_kept():
        run_distill(
            run, config.distill, seed=cell.draw, out=out, device="cpu", teacher=study.teacher
        )
    return out


def judged(study: Study) -> RunDir:
    """A RUN whose validation cases are the judged ones of the study, with their targets."""
    table = study.work / f"{study.set_name}-{JUDGE}.csv"
    if not table.exists():
        write_parts(table, study.source, SETS[study.set_name], JUDGE)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    few = {row["group"] for row in [each for each in rows if each["part"] == "train"][:FEW_TRAINED]}
    names = {"train": "train", JUDGE: "val"}
    kept = [row for row in rows if row["part"] == JUDGE or row["group"] in few]
    own = study.work / f"{study.set_name}-as-validation.csv"
    with own.open("w", newline="", encoding="utf-8") as file:
        listed = [(row["id"], row["group"], names[row["part"]]) for row in kept]
        csv.writer(file).writerows([("id", "group", "part"), *listed])
    settings = [
        f"prepare.source={study.source}",
        f"prepare.groups={own}",
        "prepare.val=part=val",
        "prepare.test_fraction=0.0",
        *SETS[study.set_name].prepare,
        *few_boxes.DISTILL,
        "distill.colearning.unboxed=ignore",
        *study.overrides,
        "distill.colearning.steps=2",
        "distill.epochs=1",
    ]
    run = RunDir(study.work / f"{study.set_name}-as-validation")
    config = load_config(None, {}, settings)
    run_prepare(run, config.prepare, seed=0)
    run_distill(run, config.distill, seed=0, device="cpu", teacher=study.teacher)
    return run


def agreement(run: RunDir, student_dir: Path) -> Agreement:
    """How each epoch's student agrees with targets and true masks of the judged cases."""
    student, data = load_network(student_dir), Dataset.open(run.data)
    size = student.preprocessing.image_size
    rows = [row for row in read_table(run.teacher / QUALITY_CSV, QualityRow) if row.split == "val"]
    folders = TargetFolders(run.teacher, None, {row.case_id: row.key for row in rows})
    cases = pack_targets(rows, Packing(data, folders, size, read_findings(run.data)))
    truth = torch.cat([_truth(data, case_id, size) for case_id in cases.case_ids])
    found = [
        _of_epoch(student, path, cases, truth)
        for path in sorted((student_dir / "epochs").iterdir())
    ]
    soft, with_target, with_truth = (np.stack(each) for each in zip(*found, strict=True))
    groups = np.array([data.by_id[case_id].group for case_id in cases.case_ids])
    return Agreement(soft, with_target, with_truth, groups)


def _truth(data: Dataset, case_id: str, size: int) -> torch.Tensor:
    mask = torch.from_numpy(read_mask(mask_path(data.directory, data.by_id[case_id])))
    return (to_frame((mask[None, None] > 0).float(), size) >= 0.5).float()


def _of_epoch(
    student: Any, path: Path, cases: PackedCases, truth: torch.Tensor
) -> tuple[np.ndarray, ...]:
    fabric = make_fabric("cpu", "auto")
    student.module.load_state_dict(torch.load(path))
    student.module.eval()
    parts = []
    for places in torch.split(torch.arange(len(cases)), 16):
        batch = cases.batch(places)
        probs = predict_probs(student.module, batch.images, student.preprocessing, fabric)
        masks = [(probs >= threshold).float() for threshold in THRESHOLDS]
        theirs = (batch.probs >= 0.5).float()
        parts.append(
            (
                soft_dice_agreement(probs, batch.probs).numpy(),
                np.stack([soft_dice_agreement(mask, theirs).numpy() for mask in masks]),
                np.stack([soft_dice_agreement(mask, truth[places]).numpy() for mask in masks]),
            )
        )
    return tuple(np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))


def worth(found: Agreement, count: int) -> dict[str, dict[str, float]]:
    """Of each rule the mean Dice over tries on what did not validate, and the tenth of a hundred, with
    at least `count` validation cases."""
    rng, names = np.random.default_rng(0), np.unique(found.groups)
    values: dict[str, list[float]] = {rule: [] for rule in RULES}
    for _ in range(TRIES):
        order = rng.permutation(names)
        sizes = np.cumsum([(found.groups == name).sum() for name in order])
        val = np.isin(found.groups, order[: 1 + np.searchsorted(sizes, count)])
        for rule, (chooses_epoch, chooses_threshold) in RULES.items():
            epoch = int(found.soft[:, val].mean(1).argmax()) if chooses_epoch else -1
            cut = _cut(found.with_target[epoch][:, val]) if chooses_threshold else HALF
            values[rule].append(float(found.with_truth[epoch, cut, ~val].mean()))
    return {
        rule: {
            "mean": round(float(np.mean(each)), 4),
            "low": round(float(np.quantile(each, 0.1)), 4),
        }
        for rule, each in values.items()
    }


def _cut(with_target: np.ndarray) -> int:
    """The place of the threshold that `distill` would choose by (T, V) of validation cases."""
    gains = with_target - with_target[HALF]
    errors = gains.std(1, ddof=1) / np.sqrt(gains.shape[1]) if gains.shape[1] > 1 else np.inf
    chosen = threshold_of(gains.mean(1).tolist(), np.broadcast_to(errors, len(gains)).tolist())
    return THRESHOLDS.index(chosen)


def make_table(cells: list[dict[str, Any]]) -> str:
    """A Markdown table, a line a cell and count of validation cases."""
    head = ["set", "boxed", "draw", "arm", "validation", *RULES]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in cells:
        for count, rules in cell["worth"].items():
            told = [f"{each['mean']:.3f} ({each['low']:.3f})" for each in rules.values()]
            names = [cell[name] for name in ("set_name", "boxes", "draw", "arm")]
            lines.append("| " + " | ".join(map(str, [*names, count, *told])) + " |")
    return "\n".join(lines)


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    set_name: Annotated[
        Optional[str], typer.Argument(metavar="SET", help=f"One of {', '.join(SETS)}.")
    ] = None,
    source: Annotated[Optional[Path], typer.Argument(help="The set's folder.")] = None,
    boxes: Annotated[int, typer.Option(help="Count of boxed images.")] = 50,
    draws: Annotated[int, typer.Option(help="Draws of the boxed images: 0, 1, ...")] = 1,
    first_draw: Annotated[int, typer.Option(help="The draw to begin with.")] = 0,
    arm: Annotated[str, typer.Option(help="Of few_boxes.py.")] = "colearning",
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Where RUNs lie.")] = Path("runs/few_boxes"),
    out: Annotated[Path, typer.Option(help="Where the cells' files go.")] = Path(
        "scripts/studies/few_judges"
    ),
    table: Annotated[Optional[Path], typer.Option(help="Only print this folder's table.")] = None,
) -> None:
    with one_line_errors():
        if table is not None:
            typer.echo(make_table(read_cells(table)))
            return
        if set_name is None or source is None:
            raise ConfigError("give a SET and its folder, or a folder of cells as --table")
        if set_name not in SETS:
            raise ConfigError(f"set '{set_name}' is not known{nearest(set_name, SETS)}")
        study = Study(set_name, source, work, out, JUDGE, tuple(overrides or ()))
        for draw in range(first_draw, draws):
            run_cell(study, Cell(set_name, boxes, draw, arm))
        typer.echo(make_table(read_cells(out)))


def run_cell(study: Study, cell: Cell) -> None:
    """Train, ask and judge; the cell's file is there afterwards."""
    path = study.out / f"{cell.name}.json"
    if path.exists():
        return
    say(f"cell {cell.name}")
    study.work.mkdir(parents=True, exist_ok=True)
    found = agreement(judged(study), trained(study, cell))
    told = {str(count): worth(found, count) for count in COUNTS if count < len(found.groups) / 2}
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"judged": len(found.groups), "epochs": len(found.soft), **circumstances()}
    write_json(path, {**dataclasses.asdict(cell), "worth": told, **about})


if __name__ == "__main__":
    app()
