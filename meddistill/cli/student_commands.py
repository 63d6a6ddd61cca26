"""What is done with a student that is there: predict, export."""

import dataclasses
from pathlib import Path
from typing import Annotated, Optional

import typer

from meddistill.cli.options import (
    Device,
    Overwrite,
    StudentDir,
    Threshold,
    choices,
    command,
    option,
)

# Typer reads annotations at run time.
# ruff: noqa: UP045

commands = typer.Typer()

_USE = "A student at work"


@dataclasses.dataclass(frozen=True)
class PredictArguments:
    """What `meddistill predict` takes."""

    student: StudentDir
    paths: Annotated[
        list[str],
        typer.Argument(help="Images, folders of images, or patterns.", metavar="PATHS..."),
    ]
    out: Annotated[
        Path,
        option(text="Directory for masks and predictions.csv.", default="none, it must be given"),
    ]
    threshold: Threshold = None
    probabilities: Annotated[
        bool, option("--probabilities", text="Also write probability maps, 16-bit.", default="off")
    ] = False
    overlays: Annotated[
        bool, option("--overlays", text="Also draw each mask on its image.", default="off")
    ] = False
    batch_size: Annotated[
        int, option(text="Images a forward pass; changes no result.", default="16", min=1)
    ] = 16
    device: Device = "auto"
    overwrite: Overwrite = False


@command(commands, _USE)
def predict(given: PredictArguments) -> None:
    """Segment new images with a student: masks, and a table with areas and confidence."""
    from meddistill.stages.predict import PredictOptions, run_predict

    options = PredictOptions(given.threshold, given.probabilities, given.overlays, given.batch_size)
    run_predict(
        given.student,
        given.paths,
        given.out,
        options,
        device=given.device,
        overwrite=given.overwrite,
    )


@commands.command(rich_help_panel=_USE)
def export(
    student: StudentDir,
    file_format: Annotated[
        str,
        option(
            "--format",
            text="onnx or torchscript.",
            default="onnx",
            autocompletion=choices("onnx", "torchscript"),
        ),
    ] = "onnx",
    int8: Annotated[
        bool, option("--int8", text="8-bit weights and activations (onnx).", default="off")
    ] = False,
    images: Annotated[
        Optional[list[str]],
        option(
            text="Images to check it on; may be repeated.", default="those of the student's RUN"
        ),
    ] = None,
    out: Annotated[
        Optional[Path], option(text="File to write.", default="STUDENT/student.onnx or .pt")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn a student into one file, pixels in and probabilities out, and check it against
    PyTorch.
    """
    from meddistill.stages.export import run_export

    run_export(
        student,
        file_format=file_format,
        int8=int8,
        images=images or (),
        out=out,
        overwrite=overwrite,
    )
