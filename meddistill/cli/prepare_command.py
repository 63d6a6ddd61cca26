"""`meddistill prepare`: options become a config, the config goes to the stage."""

import dataclasses
from pathlib import Path
from typing import Annotated, Optional

import typer

from meddistill.cli.options import (
    STAGES_PANEL,
    ConfigFile,
    Out,
    Overrides,
    Overwrite,
    Run,
    Seed,
    Sources,
    choices,
    command,
    complete_dataset,
    flags_of,
    load,
    more_sources,
    option,
    run_dir,
    setting,
)
from meddistill.settings.axes import NUMBERS, axis_number

# Typer reads annotations at run time.
# ruff: noqa: UP045

commands = typer.Typer()


@dataclasses.dataclass(frozen=True)
class PrepareArguments:
    """What `meddistill prepare` takes."""

    run: Run
    source: Sources = None
    dataset: Annotated[
        Optional[str],
        setting(
            "prepare.dataset",
            also="`meddistill sources` lists them.",
            autocompletion=complete_dataset,
        ),
    ] = None
    images: Annotated[Optional[str], setting("prepare.images", also="Several with commas.")] = None
    masks: Annotated[Optional[str], setting("prepare.masks")] = None
    accept: Annotated[Optional[str], setting("prepare.accept", also="Several with commas.")] = None
    classes: Annotated[Optional[str], setting("prepare.classes", also="Several with commas.")] = (
        None
    )
    findings: Annotated[Optional[str], setting("prepare.findings", also="Several with commas.")] = (
        None
    )
    healthy: Annotated[
        Optional[list[Path]], setting("prepare.healthy", also="May be repeated.")
    ] = None
    groups: Annotated[Optional[Path], setting("prepare.groups")] = None
    boxes: Annotated[Optional[Path], setting("prepare.boxes")] = None
    table: Annotated[Optional[Path], setting("prepare.table")] = None
    unannotated: Annotated[
        Optional[str],
        setting("prepare.unannotated", autocompletion=choices("auto", "none", "unknown")),
    ] = None
    annotators: Annotated[
        Optional[str],
        setting(
            "prepare.annotators",
            autocompletion=choices("ask", "union", "intersection", "first"),
        ),
    ] = None
    resplit: Annotated[Optional[bool], setting("prepare.resplit", "--resplit")] = None
    test: Annotated[Optional[str], setting("prepare.test")] = None
    val: Annotated[Optional[str], setting("prepare.val")] = None
    box_fraction: Annotated[Optional[float], setting("prepare.box_fraction")] = None
    box_count: Annotated[Optional[int], setting("prepare.box_count")] = None
    axis: Annotated[
        Optional[str],
        setting("prepare.axis", also="Also by name.", autocompletion=choices(*NUMBERS)),
    ] = None
    keep_names: Annotated[Optional[bool], setting("prepare.keep_names", "--keep-names")] = None
    box_every: Annotated[Optional[int], setting("prepare.box_every")] = None
    label: Annotated[Optional[str], setting("prepare.label")] = None
    boxes_per: Annotated[
        Optional[str], setting("prepare.boxes_per", autocompletion=choices("component", "case"))
    ] = None
    fit_masks: Annotated[Optional[bool], setting("prepare.fit_masks", "--fit-masks")] = None
    resample_masks: Annotated[
        Optional[bool], setting("prepare.resample_masks", "--resample-masks")
    ] = None
    channel: Annotated[Optional[str], setting("prepare.channel")] = None
    fit_boxes: Annotated[Optional[str], setting("prepare.fit_boxes")] = None
    group_from: Annotated[Optional[str], setting("prepare.group_from")] = None
    folds: Annotated[Optional[int], setting("prepare.folds")] = None
    fold: Annotated[Optional[int], setting("prepare.fold")] = None
    strict: Annotated[Optional[bool], setting("prepare.strict", "--strict")] = None
    update: Annotated[
        bool,
        option(
            "--update",
            text="Add what is new in the source, and boxes drawn by `label`; earlier cases keep their split.",
            default="off",
        ),
    ] = False
    dry_run: Annotated[
        bool,
        option(
            "--dry-run",
            text="Say what the source is understood to be, and write nothing.",
            default="off",
        ),
    ] = False
    config: ConfigFile = None
    overrides: Overrides = None
    seed: Seed = None
    overwrite: Overwrite = False
    out: Out = None


@command(commands, STAGES_PANEL)
def prepare(given: PrepareArguments) -> None:
    """Turn a folder of images (and masks or boxes) into RUN/data."""
    flags = flags_of(given) | more_sources(given.source)
    if given.axis is not None:
        flags["prepare.axis"] = axis_number(given.axis)
    settings = load(given.config, flags, given.overrides, "prepare")
    if given.dry_run:
        from meddistill.stages.prepare import show_understanding

        show_understanding(settings.prepare, settings.seed)
        return
    from meddistill.stages.prepare import run_prepare

    run_prepare(
        run_dir(given.run),
        settings.prepare,
        seed=settings.seed,
        overwrite=given.overwrite,
        out=given.out,
        update=given.update,
    )
