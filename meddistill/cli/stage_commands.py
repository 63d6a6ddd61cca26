"""The four stages, and all of them in a row: options become a config, the config goes to a stage.

What a command takes is a dataclass, a field an option, in the order of its help.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Optional

import typer

from meddistill.base.errors import ConfigError
from meddistill.cli.options import (
    ConfigFile,
    Data,
    Device,
    Out,
    Overrides,
    Overwrite,
    Run,
    Seed,
    Size,
    Source,
    Sources,
    choices,
    command,
    complete_dataset,
    complete_split,
    complete_teacher,
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

_STAGES = "Stages, in order"
_ROW = "All in a row"
_CORRECT = "Correct by hand"


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


@command(commands, _STAGES)
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


@dataclasses.dataclass(frozen=True)
class DetectArguments:
    """What `meddistill detect` takes."""

    run: Run
    weights: Annotated[Optional[str], setting("detect.weights")] = None
    train: Annotated[Optional[bool], setting("detect.train", "--train/--no-train")] = None
    epochs: Annotated[Optional[int], setting("detect.epochs")] = None
    confidence: Annotated[Optional[float], setting("detect.confidence")] = None
    trust_weights: Annotated[Optional[bool], setting("detect.trust_weights", "--trust-weights")] = (
        None
    )
    data: Data = None
    config: ConfigFile = None
    overrides: Overrides = None
    seed: Seed = None
    device: Device = "auto"
    overwrite: Overwrite = False
    out: Out = None


@command(commands, _STAGES)
def detect(given: DetectArguments) -> None:
    """Train a detector on the annotated cases and write boxes for every case to RUN/detector."""
    settings = load(given.config, flags_of(given), given.overrides, "detect")
    from meddistill.stages.detect import run_detect

    run_detect(
        run_dir(given.run),
        settings.detect,
        seed=settings.seed,
        device=given.device,
        overwrite=given.overwrite,
        out=given.out,
        data=given.data,
    )


@dataclasses.dataclass(frozen=True)
class DistillArguments:
    """What `meddistill distill` takes."""

    run: Run
    teacher: Annotated[
        Optional[str], setting("distill.teacher", autocompletion=complete_teacher)
    ] = None
    size: Size = None
    boxes: Annotated[Optional[Path], setting("distill.boxes_file")] = None
    start: Annotated[Optional[Path], setting("distill.warm_start", "--from")] = None
    epochs: Annotated[Optional[int], setting("distill.epochs")] = None
    batch_size: Annotated[Optional[int], setting("distill.batch_size")] = None
    data: Data = None
    config: ConfigFile = None
    overrides: Overrides = None
    seed: Seed = None
    device: Device = "auto"
    overwrite: Overwrite = False
    out: Out = None


@command(commands, _STAGES)
def distill(given: DistillArguments) -> None:
    """Let the teacher make soft masks once (RUN/teacher), and distil them into RUN/student."""
    settings = load(given.config, flags_of(given), given.overrides, "distill")
    from meddistill.stages.distill import run_distill

    run_distill(
        run_dir(given.run, given.data),
        settings.distill,
        seed=settings.seed,
        device=given.device,
        overwrite=given.overwrite,
        out=given.out,
    )


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


@command(commands, _STAGES, "eval")
def evaluate(given: EvalArguments) -> None:
    """Compare the student (and the baselines) with the true masks: numbers, pictures and a report
    in RUN/eval."""
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
