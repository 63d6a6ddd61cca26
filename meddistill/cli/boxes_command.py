"""`meddistill boxes`: what is asked of the files for a label tool."""

import dataclasses
from pathlib import Path
from typing import Annotated, Optional

import typer

from meddistill.cli.options import (
    Data,
    Device,
    Overwrite,
    Run,
    choices,
    command,
    option,
    run_dir,
)

# Typer reads annotations at run time.
# ruff: noqa: UP045

commands = typer.Typer()

_CORRECT = "Correct by hand"


@dataclasses.dataclass(frozen=True)
class BoxesArguments:
    """What `meddistill boxes` takes."""

    run: Run
    to: Annotated[
        str,
        option(
            text="coco, yolo, csv, voc, labelme, cvat or labelstudio.",
            default="none, it must be given",
            autocompletion=choices("coco", "yolo", "csv", "voc", "labelme", "cvat", "labelstudio"),
        ),
    ]
    masks: Annotated[
        bool,
        option("--masks", text="Give the objects the student's masks as shapes.", default="off"),
    ] = False
    masks_of: Annotated[
        Optional[str],
        option(
            text="Whose masks: student or teacher.",
            default="none; the student's with --masks",
            autocompletion=choices("student", "teacher"),
        ),
    ] = None
    data: Data = None
    device: Device = "auto"
    overwrite: Overwrite = False
    out: Annotated[
        Optional[Path],
        option(text="Write here.", default="RUN/boxes-TO", rich_help_panel="All stages"),
    ] = None


@command(commands, _CORRECT)
def boxes(given: BoxesArguments) -> None:
    """Write the boxes of RUN/data for a label tool, to be corrected and prepared again."""
    from meddistill.stages.boxes import run_boxes

    run_boxes(
        run_dir(given.run, given.data),
        given.to,
        masks_of=given.masks_of or ("student" if given.masks else ""),
        out=given.out,
        device=given.device,
        overwrite=given.overwrite,
    )
