"""`meddistill eval`: of a RUN, of folders, or of evaluations that are there, compared or taken together."""

import dataclasses
from pathlib import Path
from typing import Annotated, Optional

import typer

from meddistill.base.errors import ConfigError
from meddistill.cli.options import (
    STAGES_PANEL,
    ConfigFile,
    Data,
    Device,
    Out,
    Overrides,
    Overwrite,
    Seed,
    command,
    complete_split,
    flags_of,
    load,
    option,
    run_dir,
    setting,
)

# Typer reads annotations at run time.
# ruff: noqa: UP045

commands = typer.Typer()


@dataclasses.dataclass(frozen=True)
class EvalArguments:
    """What `meddistill eval` takes."""

    runs: Annotated[
        Optional[list[Path]],
        typer.Argument(
            help="Directory of the experiment; several with --aggregate.", metavar="[RUN]"
        ),
    ] = None
    split: Annotated[Optional[str], setting("eval.split", autocompletion=complete_split)] = None
    threshold: Annotated[Optional[float], setting("eval.threshold")] = None
    findings: Annotated[Optional[str], setting("eval.findings", also="Several with commas.")] = None
    student: Annotated[
        Optional[Path], option(text="Student to evaluate.", default="RUN/student")
    ] = None
    boxes: Annotated[
        Optional[Path],
        option(text="Table of boxes that the baselines use.", default="RUN/detector/boxes.csv"),
    ] = None
    masks_from: Annotated[
        Optional[Path],
        option(text="Folder of another tool's masks, judged in the same tables.", default="none"),
    ] = None
    name: Annotated[
        Optional[str], option(text="What that tool is called.", default="the folder's name")
    ] = None
    resample_masks: Annotated[
        bool,
        option(
            "--resample-masks",
            text="Bring its masks to the size of their images.",
            default="off",
        ),
    ] = False
    foreign: Annotated[
        Optional[list[str]],
        option(
            text="FOLDER or NAME=FOLDER of images that are not its own: are they noticed? May be repeated.",
            default="none",
        ),
    ] = None
    flip_average: Annotated[Optional[bool], setting("eval.flip_average", "--flip-average")] = None
    keep_largest: Annotated[Optional[bool], setting("eval.keep_largest", "--keep-largest")] = None
    min_component_px: Annotated[Optional[int], setting("eval.min_component_px")] = None
    compare: Annotated[
        Optional[tuple[str, str]],
        option(
            text="Paired difference of two finished evaluations: RUN, DIR:METHOD or METHOD, twice.",
            default="none",
        ),
    ] = None
    aggregate: Annotated[
        bool,
        option("--aggregate", text="Take the evaluations of several RUNs together.", default="off"),
    ] = False
    data: Data = None
    images: Annotated[
        Optional[Path], option(text="Without RUN: folder of images.", default="none")
    ] = None
    masks: Annotated[
        Optional[Path],
        option(text="Without RUN: folder of true masks, equal stems.", default="none"),
    ] = None
    config: ConfigFile = None
    overrides: Overrides = None
    seed: Seed = None
    device: Device = "auto"
    overwrite: Overwrite = False
    out: Out = None


@command(commands, STAGES_PANEL, "eval")
def evaluate(given: EvalArguments) -> None:
    """Compare the student (and the baselines) with the true masks: numbers, pictures and a report
    in RUN/eval."""
    _refuse_what_nothing_reads(given)
    settings = load(given.config, flags_of(given), given.overrides, "eval")
    if given.compare or given.aggregate:
        _compare_or_aggregate(
            given.runs or [], given.compare, given.aggregate, settings.seed, given.out
        )
        return
    from meddistill.evaluation.request import EvalRequest, FolderRequest, OtherMasks
    from meddistill.stages.evaluate import run_eval, run_eval_folders

    if given.runs:
        run, *more = given.runs
        if more:
            raise ConfigError(
                f"eval takes one RUN, got {len(given.runs)}; --aggregate takes several"
            )
        if given.images or given.masks:
            raise ConfigError("give either RUN or --images and --masks, not both")
        other = None
        if given.masks_from is not None:
            other = OtherMasks(given.masks_from, given.name or "", given.resample_masks)
        request = EvalRequest(
            data=given.data,
            student=given.student,
            boxes=given.boxes,
            out=given.out,
            device=given.device,
            overwrite=given.overwrite,
            other=other,
            foreign=given.foreign or (),
        )
        run_eval(run_dir(run), settings.eval, request, seed=settings.seed)
        return
    if not (given.images and given.masks and given.student and given.out):
        raise ConfigError("without RUN, eval needs all of --images, --masks, --student and --out")
    folders = FolderRequest(
        images=given.images,
        masks=given.masks,
        student=given.student,
        out=given.out,
        device=given.device,
        overwrite=given.overwrite,
        foreign=given.foreign or (),
    )
    run_eval_folders(folders, settings.eval, seed=settings.seed)


def _refuse_what_nothing_reads(given: EvalArguments) -> None:
    """Raises: ConfigError for what is said of another tool's masks where none are judged."""
    if given.masks_from is None:
        for flag, typed in (("--name", given.name), ("--resample-masks", given.resample_masks)):
            if typed:
                raise ConfigError(
                    f"{flag} is about another tool's masks; give their folder as --masks-from"
                )
    elif given.compare or given.aggregate:
        flag = "--compare" if given.compare else "--aggregate"
        raise ConfigError(
            f"{flag} reads finished evaluations, no --masks-from; first evaluate with --masks-from"
        )
    elif not given.runs:
        raise ConfigError("--masks-from goes with a RUN, not with --images and --masks; give a RUN")


def _compare_or_aggregate(
    runs: list[Path], compare: tuple[str, str] | None, aggregate: bool, seed: int, out: Path | None
) -> None:
    from meddistill.stages.compare import run_aggregate, run_compare

    if aggregate:
        if compare:
            raise ConfigError("give either --compare or --aggregate, not both")
        run_aggregate(runs, seed=seed, out=out)
        return
    assert compare is not None
    if len(runs) > 1:
        raise ConfigError(f"--compare takes at most one RUN besides its two sides, got {len(runs)}")
    run_compare(*compare, seed=seed, run=run_dir(runs[0]) if runs else None, out=out)
