"""What is done with a student or a RUN that is there, and what can be asked of MedDistill itself."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from meddistill.base import console
from meddistill.cli.options import (
    Device,
    Overwrite,
    Run,
    StudentDir,
    Threshold,
    choices,
    complete_section,
    complete_teacher,
    option,
    run_dir,
)

# Typer reads annotations at run time.
# ruff: noqa: UP045

commands = typer.Typer()

_USE = "A student at work"
_LOOK = "Look and check"


@commands.command(rich_help_panel=_USE)
def predict(
    student: StudentDir,
    paths: Annotated[list[str], typer.Argument(help="Images, folders of images, or patterns.", metavar="PATHS...")],
    out: Annotated[Path, option(text="Directory for masks and predictions.csv.", default="none, it must be given")],
    threshold: Threshold = None,
    probabilities: Annotated[
        bool, option("--probabilities", text="Also write probability maps, 16-bit.", default="off")
    ] = False,
    overlays: Annotated[bool, option("--overlays", text="Also draw each mask on its image.", default="off")] = False,
    batch_size: Annotated[int, option(text="Images a forward pass; changes no result.", default="16", min=1)] = 16,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Segment new images with a student: masks, and a table with areas and confidence."""
    from meddistill.stages.predict import run_predict

    run_predict(
        student, paths, out,
        threshold=threshold, probabilities=probabilities, overlays=overlays, batch_size=batch_size, device=device,
        overwrite=overwrite,
    )  # fmt: skip


@commands.command(rich_help_panel=_USE)
def export(
    student: StudentDir,
    file_format: Annotated[
        str,
        option("--format", text="onnx or torchscript.", default="onnx", autocompletion=choices("onnx", "torchscript")),
    ] = "onnx",
    int8: Annotated[bool, option("--int8", text="8-bit weights and activations (onnx).", default="off")] = False,
    images: Annotated[
        Optional[list[str]],
        option(text="Images to check it on; may be repeated.", default="those of the student's RUN"),
    ] = None,
    out: Annotated[Optional[Path], option(text="File to write.", default="STUDENT/student.onnx or .pt")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn a student into one file, pixels in and probabilities out, and check it against PyTorch."""
    from meddistill.stages.export import run_export

    run_export(student, file_format=file_format, int8=int8, images=images or (), out=out, overwrite=overwrite)


@commands.command(rich_help_panel=_LOOK)
def status(run: Run) -> None:
    """Show which stages of RUN are done, with their headline numbers, and what to type next."""
    from meddistill.stages.status import run_status

    run_status(run_dir(run))


@commands.command(rich_help_panel=_LOOK)
def verify(run: Run) -> None:
    """Check by hash that every file of RUN's finished stages is what the stage wrote."""
    from meddistill.stages.verify import run_verify

    run_verify(run_dir(run))


@commands.command("config", rich_help_panel=_LOOK)
def show_config(
    section: Annotated[
        str,
        typer.Argument(
            help="prepare, detect, distill, distill.targets, eval, or one setting; without it all of them.",
            metavar="[SECTION]",
            autocompletion=complete_section,
        ),
    ] = "",
) -> None:
    """List the settings that --set and --config take, with default and effect; piped, as YAML that --config reads."""
    from meddistill.stages.show_config import run_settings

    run_settings(section)


@commands.command(rich_help_panel=_LOOK)
def sources() -> None:
    """List the layouts that `prepare --dataset` reads."""
    from meddistill.data.sources.known_sources import describe_sources

    typer.echo(describe_sources())


@commands.command(rich_help_panel=_LOOK)
def teachers(
    fetch: Annotated[
        Optional[str],
        option(text="Download and verify this teacher's weights now.", default="none", autocompletion=complete_teacher),
    ] = None,
) -> None:
    """List the teachers: licence, size, and which are on this machine."""
    from meddistill.teachers.loading import describe_teachers, fetch_teacher

    if fetch is not None:
        console.say(f"{fetch} is ready: {fetch_teacher(fetch)}")
        return
    typer.echo(describe_teachers())
