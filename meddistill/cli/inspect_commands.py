"""What is looked up: a RUN's state and files, the settings, sources and teachers that there are."""

from typing import Annotated, Optional

import typer

from meddistill.base import console
from meddistill.cli.options import Run, complete_section, complete_teacher, option, run_dir

# Typer reads annotations at run time.
# ruff: noqa: UP045

commands = typer.Typer()

_LOOK = "Look and check"


@commands.command(rich_help_panel=_LOOK)
def status(run: Run) -> None:
    """Show which stages of RUN are done, with their headline numbers, and what to type next."""
    from meddistill.stages.status import run_status

    run_status(run_dir(run))


@commands.command(rich_help_panel=_LOOK)
def verify(run: Run) -> None:
    """Check by hash that images, boxes, masks, tables and weights of RUN are what its finished stages wrote."""
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
    """List the settings that --set and --config take, with default and effect; piped, as YAML that
    --config reads."""
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
        option(
            text="Download and verify this teacher's weights now.",
            default="none",
            autocompletion=complete_teacher,
        ),
    ] = None,
) -> None:
    """List the teachers: licence, size, and which are on this machine."""
    from meddistill.teachers.loading import describe_teachers, fetch_teacher

    if fetch is not None:
        console.say(f"{fetch} is ready: {fetch_teacher(fetch)}")
        return
    typer.echo(describe_teachers())
