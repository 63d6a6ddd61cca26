"""The four stages, and all of them in a row: options become a config, the config goes to a
stage.
"""

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
    Source,
    choices,
    complete_dataset,
    complete_split,
    complete_teacher,
    load,
    option,
    run_dir,
    setting,
    text_of,
)

# Typer reads annotations at run time.
# ruff: noqa: UP045

commands = typer.Typer()

_STAGES = "Stages, in order"
_ROW = "All in a row"


@commands.command(rich_help_panel=_STAGES)
def prepare(
    run: Run,
    source: Source = None,
    dataset: Annotated[
        Optional[str],
        setting(
            "prepare.dataset",
            also="`meddistill sources` lists them.",
            autocompletion=complete_dataset,
        ),
    ] = None,
    classes: Annotated[
        Optional[str], setting("prepare.classes", also="Several with commas.")
    ] = None,
    groups: Annotated[Optional[Path], setting("prepare.groups")] = None,
    boxes: Annotated[Optional[Path], setting("prepare.boxes")] = None,
    test: Annotated[Optional[str], setting("prepare.test")] = None,
    val: Annotated[Optional[str], setting("prepare.val")] = None,
    box_fraction: Annotated[Optional[float], setting("prepare.box_fraction")] = None,
    label: Annotated[Optional[str], setting("prepare.label")] = None,
    boxes_per: Annotated[
        Optional[str], setting("prepare.boxes_per", autocompletion=choices("component", "case"))
    ] = None,
    group_from: Annotated[Optional[str], setting("prepare.group_from")] = None,
    folds: Annotated[Optional[int], setting("prepare.folds")] = None,
    fold: Annotated[Optional[int], setting("prepare.fold")] = None,
    strict: Annotated[Optional[bool], setting("prepare.strict", "--strict")] = None,
    update: Annotated[
        bool,
        option(
            "--update",
            text="Add what is new in the source; earlier cases keep their split.",
            default="off",
        ),
    ] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    out: Out = None,
) -> None:
    """Turn a folder of images (and masks or boxes) into RUN/data."""
    flags = {
        "seed": seed,
        "prepare.source": text_of(source),
        "prepare.dataset": dataset,
        "prepare.classes": classes.split(",") if classes else None,
        "prepare.groups": text_of(groups),
        "prepare.boxes": text_of(boxes),
        "prepare.test": test,
        "prepare.val": val,
        "prepare.box_fraction": box_fraction,
        "prepare.label": label,
        "prepare.boxes_per": boxes_per,
        "prepare.group_from": group_from,
        "prepare.folds": folds,
        "prepare.fold": fold,
        "prepare.strict": strict,
    }
    settings = load(config, flags, overrides, "prepare")
    from meddistill.stages.prepare import run_prepare

    run_prepare(
        run_dir(run),
        settings.prepare,
        seed=settings.seed,
        overwrite=overwrite,
        out=out,
        update=update,
    )


@commands.command(rich_help_panel=_STAGES)
def detect(
    run: Run,
    weights: Annotated[Optional[str], setting("detect.weights")] = None,
    train: Annotated[Optional[bool], setting("detect.train", "--train/--no-train")] = None,
    epochs: Annotated[Optional[int], setting("detect.epochs")] = None,
    confidence: Annotated[Optional[float], setting("detect.confidence")] = None,
    trust_weights: Annotated[
        Optional[bool], setting("detect.trust_weights", "--trust-weights")
    ] = None,
    data: Data = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    out: Out = None,
) -> None:
    """Train a detector on the annotated cases and write boxes for every case to RUN/detector."""
    flags = {
        "seed": seed,
        "detect.weights": weights,
        "detect.train": train,
        "detect.epochs": epochs,
        "detect.confidence": confidence,
        "detect.trust_weights": trust_weights,
    }
    settings = load(config, flags, overrides, "detect")
    from meddistill.stages.detect import run_detect

    run_detect(
        run_dir(run),
        settings.detect,
        seed=settings.seed,
        device=device,
        overwrite=overwrite,
        out=out,
        data=data,
    )


@commands.command(rich_help_panel=_STAGES)
def distill(
    run: Run,
    teacher: Annotated[
        Optional[str], setting("distill.teacher", autocompletion=complete_teacher)
    ] = None,
    boxes: Annotated[Optional[Path], setting("distill.boxes_file")] = None,
    epochs: Annotated[Optional[int], setting("distill.epochs")] = None,
    batch_size: Annotated[Optional[int], setting("distill.batch_size")] = None,
    data: Data = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    out: Out = None,
) -> None:
    """Let the teacher make soft masks once (RUN/teacher), and distil them into RUN/student."""
    flags = {
        "seed": seed,
        "distill.teacher": teacher,
        "distill.boxes_file": text_of(boxes),
        "distill.epochs": epochs,
        "distill.batch_size": batch_size,
    }
    settings = load(config, flags, overrides, "distill")
    from meddistill.stages.distill import run_distill

    run_distill(
        run_dir(run),
        settings.distill,
        seed=settings.seed,
        device=device,
        overwrite=overwrite,
        out=out,
        data=data,
    )


@commands.command("eval", rich_help_panel=_STAGES)
def evaluate(
    runs: Annotated[
        Optional[list[Path]],
        typer.Argument(
            help="Directory of the experiment; several with --aggregate.", metavar="[RUN]"
        ),
    ] = None,
    split: Annotated[Optional[str], setting("eval.split", autocompletion=complete_split)] = None,
    threshold: Annotated[Optional[float], setting("eval.threshold")] = None,
    student: Annotated[
        Optional[Path], option(text="Student to evaluate.", default="RUN/student")
    ] = None,
    boxes: Annotated[
        Optional[Path],
        option(text="Table of boxes that the baselines use.", default="RUN/detector/boxes.csv"),
    ] = None,
    flip_average: Annotated[Optional[bool], setting("eval.flip_average", "--flip-average")] = None,
    keep_largest: Annotated[Optional[bool], setting("eval.keep_largest", "--keep-largest")] = None,
    min_component_px: Annotated[Optional[int], setting("eval.min_component_px")] = None,
    compare: Annotated[
        Optional[tuple[str, str]],
        option(
            text="Paired difference of two finished evaluations: RUN, DIR:METHOD or METHOD, twice.",
            default="none",
        ),
    ] = None,
    aggregate: Annotated[
        bool,
        option("--aggregate", text="Take the evaluations of several RUNs together.", default="off"),
    ] = False,
    data: Data = None,
    images: Annotated[
        Optional[Path], option(text="Without RUN: folder of images.", default="none")
    ] = None,
    masks: Annotated[
        Optional[Path],
        option(text="Without RUN: folder of true masks, equal stems.", default="none"),
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    out: Out = None,
) -> None:
    """Compare the student (and the baselines) with the true masks: numbers, pictures and a report
    in RUN/eval."""
    flags = {
        "seed": seed,
        "eval.split": split,
        "eval.threshold": threshold,
        "eval.flip_average": flip_average,
        "eval.keep_largest": keep_largest,
        "eval.min_component_px": min_component_px,
    }
    settings = load(config, flags, overrides, "eval")
    if compare or aggregate:
        _compare_or_aggregate(runs or [], compare, aggregate, settings.seed, out)
        return
    from meddistill.evaluation.request import EvalRequest, FolderRequest
    from meddistill.stages.evaluate import run_eval, run_eval_folders

    if runs:
        run, *more = runs
        if more:
            raise ConfigError(f"eval takes one RUN, got {len(runs)}; --aggregate takes several")
        if images or masks:
            raise ConfigError("give either RUN or --images and --masks, not both")
        request = EvalRequest(data, student, boxes, out, device, overwrite)
        run_eval(run_dir(run), settings.eval, request, seed=settings.seed)
        return
    if not (images and masks and student and out):
        raise ConfigError("without RUN, eval needs all of --images, --masks, --student and --out")
    folders = FolderRequest(images, masks, student, out, device, overwrite)
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


@commands.command("run", rich_help_panel=_ROW)
def run_all(
    run: Run,
    source: Source = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Do the four stages in order; finished ones are kept."""
    settings = load(
        config,
        {"seed": seed, "prepare.source": text_of(source)},
        overrides,
        "prepare",
        "detect",
        "distill",
        "eval",
    )
    from meddistill.pipeline import run_pipeline

    run_pipeline(run_dir(run), settings, device=device, overwrite=overwrite)


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
