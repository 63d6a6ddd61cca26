"""The command line: its commands, what goes for all of them, and how it ends. Imports no torch:
`--help` is quick."""

import gc
import shlex
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

import meddistill
from meddistill.base import console, library_logs
from meddistill.base.errors import (
    Interrupted,
    MedDistillError,
    disk_problem,
    lost_device,
    lost_process,
    missing_operator,
    too_little_memory,
)
from meddistill.base.processes import launched
from meddistill.cli import (
    boxes_command,
    eval_command,
    inspect_commands,
    label_commands,
    pipeline_commands,
    prepare_command,
    student_commands,
    training_commands,
)
from meddistill.cli.options import option

app = typer.Typer(
    help="Medical image segmentation without mask labels: boxes and a foundation model teach a small student.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _part in (  # in the order of `meddistill --help`
    prepare_command,
    training_commands,
    eval_command,
    boxes_command,
    pipeline_commands,
    label_commands,
    student_commands,
    inspect_commands,
):
    app.add_typer(_part.commands)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"meddistill {meddistill.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and end."
        ),
    ] = False,
    quiet: Annotated[
        bool,
        option("--quiet", "-q", text="Print warnings, errors and results only.", default="off"),
    ] = False,
    verbose: Annotated[
        bool,
        option(
            "--verbose",
            "-v",
            text="Also print a stage's resolved settings, and what other libraries log and warn of.",
            default="off",
        ),
    ] = False,
) -> None:
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose exclude each other")
    gc.enable()  # off since `__main__`
    console.set_quiet(quiet)
    console.set_verbose(verbose)
    library_logs.listen(verbose)


def main() -> None:
    """Entry point: a problem the user can mend is one line and status 1; a bug keeps its traceback.

    SIGINT and SIGTERM end with 130 and 143: files appear whole or not at all, so the same command
    goes on from there.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except MedDistillError as error:
        _fail(str(error))
    except Interrupted as interrupted:
        name = signal.Signals(interrupted.signal_number).name
        again = (
            "the same command"
            if launched().count > 1
            else shlex.join(["meddistill", *sys.argv[1:]])
        )
        console.console.print(
            f"stopped by {name}; to continue: {again}", markup=False, soft_wrap=True
        )
        sys.exit(128 + interrupted.signal_number)
    except Exception as error:
        problem = (
            disk_problem(error)
            or lost_device(error)
            or missing_operator(error)
            or too_little_memory(error, _command())
            or (lost_process(error) if launched().count > 1 else None)
        )
        if problem is None:
            raise
        _fail(problem)


def _command() -> str:
    """The command that was typed."""
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def _fail(message: str) -> None:
    rank = launched().rank
    of_rank = f" (process {rank})" if rank else ""
    console.fail(f"error{of_rank}: {message}")
    sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends at once
    raise Interrupted(number)
