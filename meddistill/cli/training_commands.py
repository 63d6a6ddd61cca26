"""The two stages that train, `detect` and `distill`: options become a config, the config goes to the
stage."""

import dataclasses
from pathlib import Path
from typing import Annotated, Optional

import typer

from meddistill.cli.options import (
    STAGES_PANEL,
    ConfigFile,
    Data,
    Device,
    Out,
    Overrides,
    Overwrite,
    Run,
    Seed,
    Size,
    command,
    complete_teacher,
    flags_of,
    load,
    run_dir,
    setting,
)

# Typer reads annotations at run time.
# ruff: noqa: UP045

commands = typer.Typer()


@dataclasses.dataclass(frozen=True)
class DetectArguments:
    """What `meddistill detect` takes."""

    run: Run
    weights: Annotated[Optional[str], setting("detect.weights")] = None
    train: Annotated[Optional[bool], setting("detect.train", "--train/--no-train")] = None
    epochs: Annotated[Optional[int], setting("detect.epochs")] = None
    confidence: Annotated[Optional[float], setting("detect.confidence")] = None
    trust_weights: Annotated[Optional[bool], setting("detect.trust_weights", "--trust-weights")] = (
        None
    )
    data: Data = None
    config: ConfigFile = None
    overrides: Overrides = None
    seed: Seed = None
    device: Device = "auto"
    overwrite: Overwrite = False
    out: Out = None


@command(commands, STAGES_PANEL)
def detect(given: DetectArguments) -> None:
    """Train a detector on the annotated cases and write boxes for every case to RUN/detector."""
    settings = load(given.config, flags_of(given), given.overrides, "detect")
    from meddistill.stages.detect import run_detect

    run_detect(
        run_dir(given.run),
        settings.detect,
        seed=settings.seed,
        device=given.device,
        overwrite=given.overwrite,
        out=given.out,
        data=given.data,
    )


@dataclasses.dataclass(frozen=True)
class DistillArguments:
    """What `meddistill distill` takes."""

    run: Run
    teacher: Annotated[
        Optional[str], setting("distill.teacher", autocompletion=complete_teacher)
    ] = None
    size: Size = None
    boxes: Annotated[Optional[Path], setting("distill.boxes_file")] = None
    start: Annotated[Optional[Path], setting("distill.warm_start", "--from")] = None
    epochs: Annotated[Optional[int], setting("distill.epochs")] = None
    batch_size: Annotated[Optional[int], setting("distill.batch_size")] = None
    data: Data = None
    config: ConfigFile = None
    overrides: Overrides = None
    seed: Seed = None
    device: Device = "auto"
    overwrite: Overwrite = False
    out: Out = None


@command(commands, STAGES_PANEL)
def distill(given: DistillArguments) -> None:
    """Let the teacher make soft masks once (RUN/teacher), and distil them into RUN/student."""
    settings = load(given.config, flags_of(given), given.overrides, "distill")
    from meddistill.stages.distill import run_distill

    run_distill(
        run_dir(given.run, given.data),
        settings.distill,
        seed=settings.seed,
        device=given.device,
        overwrite=given.overwrite,
        out=given.out,
    )
