"""The student's mask-trained twin: the same trainer, settings and cases, with true masks in place
of the teacher's.

Needs a prepared RUN with masks. Takes as long as `distill` without its teacher.

    .venv/bin/python scripts/studies/supervised_twin.py RUN --config configs/brain_tumor.yaml --out RUN/student-twin

It is the upper bound that a distilled student is compared with, and the only place where masks meet
the trainer: no module of the package leads from a mask to training. Every training and validation
case with a mask is used, boxes or not. The result is a student directory like any other:
`meddistill eval RUN --student RUN/student-twin`.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Optional

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import numpy as np
import torch
import typer

from meddistill.base.console import console, say, track
from meddistill.base.errors import InputError, MedDistillError
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import load_labels
from meddistill.data.frames import to_frame
from meddistill.data.masks import read_mask
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.fingerprints import fingerprint_stage
from meddistill.run.layout import RunDir
from meddistill.run.record import Stage
from meddistill.run.tables import Case, read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.distill import DistillConfig
from meddistill.settings.layers import load_config
from meddistill.targets.tiling import ALWAYS
from meddistill.training.fabric import make_fabric
from meddistill.training.fitting import build_and_train, preparation_of, stage_outputs
from meddistill.training.packed_cases import CaseTarget, PackedCases, TrainingData

# Typer reads annotations at run time.
# ruff: noqa: UP045


def train_twin(
    run: RunDir,
    config: DistillConfig,
    out: Path,
    *,
    seed: int,
    device: str = "auto",
    overwrite: bool = False,
) -> Path:
    """Train on the true masks of the training cases, choose the epoch by those of the validation
    cases."""
    config = dataclasses.replace(config, feature_weight=0.0)
    findings = read_findings(run.data)
    if config.tiles == ALWAYS:
        raise InputError("the twin sees whole images: distill.tiles=always is not for it")
    cases = [case for case in read_cases(run.data) if case.has_mask]
    settings = {"seed": seed, **dataclasses.asdict(config)}
    for name in ("picture_every", "size"):  # change nothing in the twin
        del settings[name]
    stage = Stage.open(
        out, "supervised twin", settings, {"data": fingerprint_stage(run.data)}, overwrite
    )
    if stage.finished:
        say(f"{out} is already made with these settings")
        return out
    train, val = (
        _pack([case for case in cases if case.split == split], run, config, findings)
        for split in ("train", "val")
    )
    if not len(train):
        raise InputError(f"{run.data} has no training case with a mask")
    fabric = make_fabric(device, config.precision)
    twin = build_and_train(
        config,
        TrainingData(train, val, findings=findings),
        fabric=fabric,
        out=out,
        seed=seed,
        prepared=preparation_of(run.data),
    )
    results = {
        "best_epoch": twin.best_epoch,
        "epochs": twin.epochs,
        "agreement": twin.agreement,
        "parameters": twin.parameters,
        "train_cases": len(train),
        "val_cases": len(val),
    }
    stage.finish(results, stage_outputs(out), device=str(fabric.device))
    return out


def true_planes(run: RunDir, case: Case, findings: Findings) -> np.ndarray:
    """The true mask of each finding, bool (C, H, W). Raises: InputError as `read_mask`."""
    path = mask_path(run.data, case)
    if findings.is_one:
        return read_mask(path)[None]
    return findings.decode(load_labels(path)[0], path.name)


def _pack(cases: list[Case], run: RunDir, config: DistillConfig, findings: Findings) -> PackedCases:
    channels = 2 * config.context + 1 if config.context else 3
    packed = PackedCases(
        [case.case_id for case in cases],
        config.image_size,
        findings=len(findings),
        channels=channels,
    )
    dataset = Dataset(run.data, cases)
    for index, case in enumerate(track(cases, "load masks", len(cases))):
        masks = torch.from_numpy(true_planes(run, case, findings))
        probs = to_frame(masks[None].float(), config.image_size)[0].clamp(0, 1).numpy()
        weight = np.ones(len(findings), np.float32)
        seen = dataset.seen(case, config.context)
        packed.put(index, seen, CaseTarget(probs, np.zeros_like(probs), weight=weight))
    return packed


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    run: Annotated[Path, typer.Argument(help="A prepared RUN with masks.")],
    config: Annotated[
        Optional[Path], typer.Option(help="YAML file of the distilled student.")
    ] = None,
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value.")
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option(help="Where to write [default: RUN/student-twin].")
    ] = None,
    seed: Annotated[Optional[int], typer.Option(help="Seed of every random choice.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a twin that has other settings.")
    ] = False,
) -> None:
    try:
        settings = load_config(config, {"seed": seed}, overrides or [])
        twin = out or run / "student-twin"
        train_twin(
            RunDir(run),
            settings.distill,
            twin,
            seed=settings.seed,
            device=device,
            overwrite=overwrite,
        )
        say(
            f"twin in {twin}; next: meddistill eval {run} --student {twin} --out "
            f"{run / 'eval-twin'}"
        )
    except MedDistillError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    app()
