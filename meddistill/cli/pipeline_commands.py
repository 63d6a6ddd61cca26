"""All stages in a row: `run`, and `demo` on embedded sample data."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from meddistill.cli.options import (
    ConfigFile,
    Device,
    Overrides,
    Overwrite,
    Run,
    Seed,
    Size,
    Source,
    command,
    flags_of,
    load,
    run_dir,
)

commands = typer.Typer()

_ROW = "All in a row"


@dataclasses.dataclass(frozen=True)
class RunArguments:
    """What `meddistill run` takes."""

    run: Run
    source: Source = None
    size: Size = None
    config: ConfigFile = None
    overrides: Overrides = None
    seed: Seed = None
    device: Device = "auto"
    overwrite: Overwrite = False


@command(commands, _ROW, "run")
def run_all(given: RunArguments) -> None:
    """Do the four stages in order; finished ones are kept."""
    stages = ("prepare", "detect", "distill", "eval")
    settings = load(given.config, flags_of(given), given.overrides, *stages)
    from meddistill.pipeline import run_pipeline

    run_pipeline(run_dir(given.run), settings, device=given.device, overwrite=given.overwrite)


@commands.command(rich_help_panel=_ROW)
def demo(
    run: Annotated[
        Path, typer.Argument(help="Where to put the demo's files.", metavar="[RUN]")
    ] = Path("meddistill-demo"),
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Show the whole pipeline on embedded sample data, without any download, in a few minutes."""
    from meddistill.pipeline import run_demo

    run_demo(run_dir(run), device=device, overwrite=overwrite)
