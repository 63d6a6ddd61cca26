"""What each part of the method is worth: one factor at a time around the default, several seeds a
row.

Needs a prepared RUN with masks. Takes a minute a training run on a GPU, minutes on a CPU core.

    .venv/bin/python scripts/studies/ablate.py RUN --config configs/brain_tumor.yaml --seeds 3 --set distill.epochs=9

RUN is prepared (and has a detector where that is needed); its targets are made once and shared.
Every run is evaluated on the true masks of the validation split (to tune defaults; the test split
stays out of sight) and its numbers are added to OUT/runs.csv and OUT/cases.csv as soon as it ends:
typed again, the command goes on where it stopped. OUT/table.md compares each row with the default,
case by case over the seeds' mean. Of rows that are there already:

    .venv/bin/python scripts/studies/ablate.py --table scripts/studies/ablation
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

from meddistill.base.console import console, say
from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import ConfigError, InputError, MedDistillError, nearest
from meddistill.base.files import read_json, write_text
from meddistill.data.masks import read_mask
from meddistill.evaluation.metrics import dice
from meddistill.evaluation.statistics import compare_paired
from meddistill.run.dataset import Dataset
from meddistill.run.layout import LAST_CKPT, PREVIOUS_CKPT, RUN_JSON, RunDir
from meddistill.run.tables import Case, read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.distill import DistillConfig
from meddistill.settings.layers import load_config
from meddistill.stages.distill import run_distill
from meddistill.student.student import Student, load_student
from meddistill.teachers.teacher import Teacher

# Typer reads annotations at run time.
# ruff: noqa: UP045

DEFAULT = "default"
TIMED_CASES = 15
# Rows that need other targets come last: they make the teacher encode again.
ROWS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "hard targets": {"hard_targets": True},
    "soft, no uncertainty": {"confidence_gamma": 0.0},
    "no features": {"feature_weight": 0.0},
    "more features": {"feature_weight": 0.5},
    "features by mse": {"feature_loss": "mse"},
    "no probability term": {"probability_weight": 0.0},
    "no dice term": {"dice_weight": 0.0},
    "noise-robust loss": {"mask_loss": "gce"},
    "box priors": {"prior_weight": 0.1},
    "weighting paper": {"weighting": "paper", "probability_weight": 1.0, "feature_weight": 1.0},
    "the paper's objective": {
        "weighting": "paper",
        "dice_weight": 0.0,
        "probability_weight": 1.0,
        "feature_weight": 1.0,
        "feature_loss": "mse",
        "confidence_gamma": 0.0,
    },
    "weighting learned": {"weighting": "learned"},
    "weighting ulwr": {"weighting": "ulwr"},
    "no augmentation": {"augment": False},
    "no averaging": {"ema_decay": 0.0},
    "two rounds": {"rounds": 2, "epochs": "half"},  # as many steps in all
    "decoder 256-128-64-32-16": {"decoder_channels": [256, 128, 64, 32, 16]},
    "plain U-Net": {"student": "unet"},
    "the paper's network": {"student": "nested_unet", "feature_weight": 0.0},
    "features, two levels": {"feature_levels": ["embedding", "stage2"]},
}


@dataclasses.dataclass(frozen=True, slots=True)
class RunRow:
    """One training run. `dice_*` over the validation cases with a mask; `missed`: share of lesions
    with Dice 0.

    `seconds` of distill; `image_cpu_ms`: processor time of predicting one image on the CPU, median
    over some cases.
    """

    row: str
    seed: int
    dice_mean: float
    dice_median: float
    missed: float
    cases: int
    train_cases: int
    agreement: float | None
    best_epoch: int
    epochs: int
    image_size: int
    precision: str
    device: str
    seconds: float
    parameters: int
    image_cpu_ms: float


@dataclasses.dataclass(frozen=True, slots=True)
class CaseRow:
    """Dice of one run on one case."""

    row: str
    seed: int
    case_id: str
    group: str
    dice: float


def run_ablation(
    run: RunDir,
    base: DistillConfig,
    rows: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    split: str = "val",
    device: str = "auto",
    teacher: Teacher | None = None,
) -> str:
    """Train and judge what `out` does not hold yet; returns the table, which is also written to
    `out`."""
    judged = [case for case in read_cases(run.data) if case.split == split and case.has_mask]
    if not judged:
        raise InputError(f"{run.data} has no {split} case with a mask to judge by")
    runs, cases = read_rows(out)
    for name in rows:
        for seed in seeds:
            if any((done.row, done.seed) == (name, seed) for done in runs):
                continue
            config = vary(base, ROWS[name])
            started = time.perf_counter()
            student_dir = run_distill(
                run,
                config,
                seed=seed,
                device=device,
                out=out / "students" / f"{name.replace(' ', '-')}-{seed}",
                teacher=teacher,
            )
            seconds = round(time.perf_counter() - started, 1)
            scores = judge(load_student(student_dir, device), judged, run.data)
            image_cpu_ms = time_on_cpu(
                load_student(student_dir, "cpu"), judged[:TIMED_CASES], run.data
            )
            cases += [
                CaseRow(name, seed, case.case_id, case.group, round(score, 6))
                for case, score in zip(judged, scores, strict=True)
            ]
            record = read_json(student_dir / RUN_JSON)
            runs.append(_summary(name, seed, scores, judged, record, config, seconds, image_cpu_ms))
            write_table(out / "cases.csv", CaseRow, cases)
            write_table(out / "runs.csv", RunRow, runs)
            for name_of_checkpoint in (LAST_CKPT, PREVIOUS_CKPT):
                (student_dir / name_of_checkpoint).unlink(missing_ok=True)
            say(f"{name}, seed {seed}: Dice {runs[-1].dice_mean:.3f} in {seconds:.0f} s")
    table = make_table(runs, cases)
    write_text(out / "table.md", table)
    return table


def vary(base: DistillConfig, changes: Mapping[str, Any]) -> DistillConfig:
    """The settings of a row; `half` of the epochs is that of the default's."""
    if changes.get("epochs") == "half":
        changes = {**changes, "epochs": max(1, base.epochs // 2)}
    return dataclasses.replace(base, **changes)


def read_rows(folder: Path) -> tuple[list[RunRow], list[CaseRow]]:
    """What earlier runs left in `folder`; nothing where it holds nothing."""
    runs, cases = (
        _read(folder / name, kind) for name, kind in (("runs.csv", RunRow), ("cases.csv", CaseRow))
    )
    return runs, cases


def judge(student: Student, cases: Sequence[Case], data_dir: Path) -> list[float]:
    """Dice of the student on each case, at the image's own size."""
    dataset, scores = Dataset(data_dir, cases), []
    for case in cases:
        mask = student.predict(dataset.image(case)).mask > 0
        scores.append(dice(mask, read_mask(mask_path(data_dir, case))))
    return scores


def time_on_cpu(student: Student, cases: Sequence[Case], data_dir: Path) -> float:
    """Processor time of predicting one image, ms: all threads, median over the cases."""
    dataset = Dataset(data_dir, cases)
    images = [dataset.image(case) for case in cases]
    student.predict(images[0])  # the first call sets things up
    times = []
    for image in images:
        started = time.process_time()
        student.predict(image)
        times.append(1000 * (time.process_time() - started))
    return statistics.median(times)


def make_table(runs: Sequence[RunRow], cases: Sequence[CaseRow]) -> str:
    """A Markdown table, a line a row: mean and spread over seeds, paired difference with the
    default."""
    per_row = {name: _case_means(cases, name) for name in dict.fromkeys(run.row for run in runs)}
    groups = {case.case_id: case.group for case in cases}
    lines = [
        "| row | seeds | Dice | spread over seeds | median | not found | against default (95 % "
        "interval) | p "
        "| parameters, M | CPU ms an image |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, scores in per_row.items():
        mine = [run for run in runs if run.row == name]
        means = [run.dice_mean for run in mine]
        spread = f"{statistics.stdev(means):.3f}" if len(means) > 1 else ""
        difference, p = "", ""
        if name != DEFAULT and per_row.get(DEFAULT, {}).keys() == scores.keys():
            ids = list(scores)
            paired = compare_paired(
                [scores[case] for case in ids],
                [per_row[DEFAULT][case] for case in ids],
                [groups[case] for case in ids],
            )
            interval = f" ({paired.ci95[0]:+.3f} to {paired.ci95[1]:+.3f})" if paired.ci95 else ""
            difference, p = f"{paired.mean:+.3f}{interval}", f"{paired.p_wilcoxon:.3f}"
        median = statistics.mean(run.dice_median for run in mine)
        missed = statistics.mean(run.missed for run in mine)
        lines.append(
            f"| {name} | {len(mine)} | {statistics.mean(means):.3f} | {spread} | {median:.3f} | "
            f"{missed:.1%} "
            f"| {difference} | {p} | {mine[0].parameters / 1e6:.2f} "
            f"| {statistics.median(run.image_cpu_ms for run in mine):.0f} |"
        )
    return "\n".join(lines) + "\n"


def _case_means(cases: Sequence[CaseRow], name: str) -> dict[str, float]:
    """Mean Dice of each case over the seeds of one row."""
    scores: dict[str, list[float]] = {}
    for case in cases:
        if case.row == name:
            scores.setdefault(case.case_id, []).append(case.dice)
    return {case_id: statistics.mean(found) for case_id, found in sorted(scores.items())}


def _summary(
    name: str,
    seed: int,
    scores: Sequence[float],
    cases: Sequence[Case],
    record: dict[str, Any],
    config: DistillConfig,
    seconds: float,
    image_cpu_ms: float,
) -> RunRow:
    results = record["results"]
    lesions = [
        score for score, case in zip(scores, cases, strict=True) if case.annotation != "none"
    ]
    return RunRow(
        row=name,
        seed=seed,
        dice_mean=round(float(np.mean(scores)), 6),
        dice_median=round(float(np.median(scores)), 6),
        missed=round(float(np.mean([score == 0 for score in lesions])), 6) if lesions else 0.0,
        cases=len(scores),
        train_cases=results["train_cases"],
        agreement=results["agreement"],
        best_epoch=results["best_epoch"],
        epochs=results["epochs"],
        image_size=config.image_size,
        precision=results["precision"],
        device=record["device"],
        seconds=seconds,
        parameters=results["parameters"],
        image_cpu_ms=round(image_cpu_ms, 1),
    )


def _read(path: Path, kind: Any) -> list[Any]:
    return read_table(path, kind) if path.exists() else []


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    run: Annotated[
        Optional[Path], typer.Argument(help="A prepared RUN with masks on its validation cases.")
    ] = None,
    config: Annotated[
        Optional[Path], typer.Option(help="YAML file: the default that rows vary.")
    ] = None,
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value.")
    ] = None,
    rows: Annotated[
        Optional[list[str]], typer.Option("--row", help="A row to run; may be repeated [all].")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs a row: seeds 0, 1, ...")] = 3,
    split: Annotated[str, typer.Option(help="Split whose masks judge.")] = "val",
    out: Annotated[
        Optional[Path], typer.Option(help="Where to write [default: RUN/ablation].")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")] = "auto",
    table_of: Annotated[
        Optional[Path], typer.Option("--table", help="Only print the table of this folder.")
    ] = None,
) -> None:
    try:
        if table_of is not None:
            runs, cases = read_rows(table_of)
            if not runs:
                raise InputError(f"{table_of} holds no runs.csv")
            typer.echo(make_table(runs, cases))
            return
        if run is None:
            raise ConfigError("give a prepared RUN, or a folder of rows as --table")
        for name in rows or []:
            if name not in ROWS:
                raise ConfigError(f"row '{name}' is not known{nearest(name, ROWS)}")
        base = load_config(config, {}, overrides or []).distill
        table = run_ablation(
            RunDir(run),
            base,
            rows or list(ROWS),
            range(seeds),
            out or run / "ablation",
            split=split,
            device=device,
        )
        typer.echo(table)
    except MedDistillError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    app()
