"""What is done with a student that is there: predict, calibrate, export."""

import dataclasses
from pathlib import Path
from typing import Annotated, Optional

import typer

from meddistill.cli.options import (
    Device,
    Overwrite,
    Run,
    StudentDir,
    Threshold,
    choices,
    command,
    option,
    run_dir,
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
    largest: Annotated[
        bool,
        option(
            "--largest",
            text="Keep only the largest connected part of each finding, in three dimensions in a volume.",
            default="off",
        ),
    ] = False
    median: Annotated[
        int,
        option(text="Side of a majority filter of masks, voxels, odd; 0 for none.", default="0"),
    ] = 0
    channel: Annotated[
        Optional[int],
        option(text="Which of the volumes that a file holds along a fourth axis.", default="none"),
    ] = None
    resume: Annotated[
        Optional[bool],
        option(
            "--resume/--no-resume",
            text="Keep what is done and intact, and go on; --no-resume does all anew.",
            default="on",
        ),
    ] = None
    shard: Annotated[
        Optional[str],
        option(
            text="I/N: do the I-th of N shares; the last to end writes the table of all.",
            default="all, or by torchrun's rank",
        ),
    ] = None
    skip_broken: Annotated[
        bool,
        option(
            "--skip-broken", text="What cannot be read is named and is no failure.", default="off"
        ),
    ] = False
    backend: Annotated[
        str,
        option(
            text="torch, or onnx: the exported student, which starts at once.",
            default="torch",
            autocompletion=choices("torch", "onnx"),
        ),
    ] = "torch"
    review_sheet: Annotated[
        bool,
        option(
            "--review-sheet",
            text="Also write review.html: all images, worst first, what is doubted drawn on them.",
            default="off",
        ),
    ] = False
    review_below: Annotated[
        float,
        option(text="Expected Dice below which an image is to be reviewed.", default="0.7"),
    ] = 0.7
    ask_teacher: Annotated[
        bool,
        option(
            "--ask-teacher",
            text="Ask the teacher about each mask's box: expected Dice is surer, for its time.",
            default="off",
        ),
    ] = False
    refine: Annotated[
        bool,
        option(
            "--refine",
            text="Ask it, and keep its mask where validation says that it is better.",
            default="off",
        ),
    ] = False
    device: Device = "auto"
    overwrite: Overwrite = False


@command(commands, _USE)
def predict(given: PredictArguments) -> None:
    """Segment new images with a student: masks, and a table with areas and confidence."""
    from meddistill.stages.predict import run_predict
    from meddistill.student.prediction_job import PredictOptions

    typed = {field.name: getattr(given, field.name) for field in dataclasses.fields(PredictOptions)}
    options = PredictOptions(
        **typed | {"resume": given.resume is not False, "shard": given.shard or ""}
    )
    run_predict(
        given.student,
        given.paths,
        given.out,
        options,
        device=given.device,
        overwrite=given.overwrite,
    )


@commands.command(rich_help_panel=_USE)
def calibrate(
    run: Run,
    student: Annotated[
        Optional[Path], option(text="The student's directory.", default="RUN/student")
    ] = None,
    images: Annotated[
        Optional[list[str]],
        option(
            text="Own images that taught it nothing, to be familiar with; may be repeated.",
            default="those of RUN",
        ),
    ] = None,
    ask_teacher: Annotated[
        bool,
        option(
            "--ask-teacher",
            text="Ask the teacher about validation images, too, for predict --ask-teacher.",
            default="off",
        ),
    ] = False,
    device: Device = "auto",
) -> None:
    """Fit again what a student says of itself: expected Dice, familiarity, calibration. No
    training.
    """
    from meddistill.stages.calibrate import run_calibrate

    run_calibrate(
        run_dir(run),
        student_dir=student,
        images=images or (),
        ask_teacher=ask_teacher,
        device=device,
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
