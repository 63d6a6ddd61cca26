"""Drawing boxes in the browser: options become a request, the request goes to the stage."""

import dataclasses
from pathlib import Path
from typing import Annotated, Optional

import typer

from meddistill.cli.options import (
    Device,
    choices,
    command,
    complete_teacher,
    option,
)

# Typer reads annotations at run time.
# ruff: noqa: UP045

commands = typer.Typer()

_PANEL = "Boxes by hand"


@dataclasses.dataclass(frozen=True)
class LabelArguments:
    """What `meddistill label` takes."""

    folder: Annotated[
        Optional[Path],
        typer.Argument(help="The RUN, or a folder of images, which becomes one.", metavar="[RUN]"),
    ] = None
    demo: Annotated[
        bool, option("--demo", text="Try it on sample slices, without any data.", default="off")
    ] = False
    into: Annotated[
        Optional[Path],
        option(text="The RUN that a folder of images becomes.", default="runs/NAME of the folder"),
    ] = None
    user: Annotated[
        str, option(text="Who labels; each person has a journal of their own.", default="me")
    ] = "me"
    teacher: Annotated[
        str,
        option(
            text="Whose mask is shown for a box; none for no masks.",
            default="litemedsam",
            autocompletion=complete_teacher,
        ),
    ] = "litemedsam"
    findings: Annotated[
        Optional[str],
        option(text="What is looked for, several with commas.", default="lesion"),
    ] = None
    order: Annotated[
        str,
        option(
            text="Which image comes next: random, diverse, uncertain, mix, or listed, as slices of "
            "a volume follow.",
            default="random",
            autocompletion=choices("random", "diverse", "uncertain", "mix", "listed"),
        ),
    ] = "random"
    audit: Annotated[
        int,
        option(
            text="Settle so many random test masks of the student instead: a Dice for who has no "
            "mask.",
            default="0",
        ),
    ] = 0
    train: Annotated[
        bool,
        option(
            "--train", text="Train in short rounds meanwhile; says when to stop.", default="off"
        ),
    ] = False
    source: Annotated[
        Optional[Path],
        option(
            text="Folder of the originals of a RUN: window and level of more than 8 bits.",
            default="none",
        ),
    ] = None
    port: Annotated[
        int, option(text="Port; where it is in use, the next one that is free.", default="8787")
    ] = 8787
    no_browser: Annotated[
        bool,
        option("--no-browser", text="Print the address, open no browser.", default="off"),
    ] = False
    host: Annotated[
        str,
        option(text="Address to listen on; others may see the page there.", default="127.0.0.1"),
    ] = "127.0.0.1"
    allow_remote: Annotated[
        bool,
        option(
            "--allow-remote", text="Let --host be another than this machine's own.", default="off"
        ),
    ] = False
    device: Device = "auto"


@command(commands, _PANEL)
def label(given: LabelArguments) -> None:
    """Draw boxes on images in the browser, with the teacher's mask at hand, into RUN/labels."""
    from meddistill.pipeline import run_label_folder
    from meddistill.stages.label import LabelRequest

    request = LabelRequest(
        user=given.user,
        teacher=given.teacher,
        findings=[name.strip() for name in given.findings.split(",")] if given.findings else (),
        order=given.order,
        host=given.host,
        port=given.port,
        allow_remote=given.allow_remote,
        browser=not given.no_browser,
        device=given.device,
        source=given.source,
        audit=given.audit,
        train=given.train,
    )
    run_label_folder(given.folder, request, into=given.into, demo=given.demo)
