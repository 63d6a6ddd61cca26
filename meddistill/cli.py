"""The commands: options become a config, the config goes to a stage. Imports no torch, so that `--help` is quick."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Optional

import typer

import meddistill
from meddistill import console
from meddistill.errors import ConfigError, Interrupted, MedDistillError, disk_problem, lost_process

# Typer reads annotations at run time.
# ruff: noqa: UP045

app = typer.Typer(
    help="Medical image segmentation without mask labels: boxes and a foundation model teach a small student.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[Path, typer.Argument(help="Directory that holds all stages of one experiment.", metavar="RUN")]
ConfigFile = Annotated[Optional[Path], typer.Option("--config", help="YAML file with a section a stage.")]
Overrides = Annotated[
    Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value; may be repeated.")
]
Seed = Annotated[Optional[int], typer.Option(help="Seed of every random choice (default: 0).")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a finished stage that has other settings.")]
Out = Annotated[Optional[Path], typer.Option(help="Write here instead of the stage's directory in RUN.")]
Data = Annotated[Optional[Path], typer.Option(help="Prepared data to read instead of RUN/data.")]


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"meddistill {meddistill.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings, errors and results only.")] = False,
) -> None:
    console.set_quiet(quiet)


@app.command()
def prepare(
    run: Run,
    source: Annotated[Optional[Path], typer.Option(help="Folder of the images, with masks or boxes.")] = None,
    dataset: Annotated[
        Optional[str], typer.Option(help="Layout of the source; `meddistill sources` lists them (default: auto).")
    ] = None,
    classes: Annotated[Optional[str], typer.Option(help="Classes to keep, comma-separated (default: all).")] = None,
    groups: Annotated[
        Optional[Path], typer.Option(help="CSV id,group[,fold]: a group never straddles a split.")
    ] = None,
    boxes: Annotated[Optional[Path], typer.Option(help="CSV of boxes for images without masks.")] = None,
    test: Annotated[Optional[str], typer.Option(help="Test split by a groups column, e.g. fold=4.")] = None,
    val: Annotated[Optional[str], typer.Option(help="Validation split, likewise.")] = None,
    box_fraction: Annotated[
        Optional[float], typer.Option(help="Share of the training groups that keep boxes (default: 1).")
    ] = None,
    label: Annotated[
        Optional[str], typer.Option(help="Mask values (1,4) or colours (#ff0000) that are lesion.")
    ] = None,
    boxes_per: Annotated[Optional[str], typer.Option(help="A box per component or per case.")] = None,
    group_from: Annotated[
        Optional[str], typer.Option(help="Regex on the path that finds the group, or 'folder'.")
    ] = None,
    folds: Annotated[Optional[int], typer.Option(help="Folds of a cross-validation; --fold is the test split.")] = None,
    fold: Annotated[Optional[int], typer.Option(help="Which fold is the test split, from 0.")] = None,
    strict: Annotated[
        Optional[bool], typer.Option("--strict", help="Stop at a rejected image or a near-duplicate across splits.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Add what is new in the source; earlier cases keep their split.")
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
        "prepare.source": _text(source),
        "prepare.dataset": dataset,
        "prepare.classes": classes.split(",") if classes else None,
        "prepare.groups": _text(groups),
        "prepare.boxes": _text(boxes),
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
    settings = _load(config, flags, overrides)
    from meddistill.stages.prepare import run_prepare

    run_prepare(_run_dir(run), settings.prepare, seed=settings.seed, overwrite=overwrite, out=out, update=update)


@app.command()
def detect(
    run: Run,
    weights: Annotated[Optional[str], typer.Option(help="Detector to start from (default: yolo11n.pt).")] = None,
    train: Annotated[
        Optional[bool], typer.Option("--train/--no-train", help="--no-train takes the detector as it is.")
    ] = None,
    epochs: Annotated[Optional[int], typer.Option(help="Passes over the annotated cases (default: 60).")] = None,
    confidence: Annotated[
        Optional[float], typer.Option(help="Lowest score of a box (default: chosen on validation).")
    ] = None,
    trust_weights: Annotated[
        Optional[bool], typer.Option("--trust-weights", help="Load weights even where that runs code inside the file.")
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
    settings = _load(config, flags, overrides)
    from meddistill.stages.detect import run_detect

    run_detect(
        _run_dir(run), settings.detect, seed=settings.seed, device=device, overwrite=overwrite, out=out, data=data
    )


@app.command()
def distill(
    run: Run,
    teacher: Annotated[Optional[str], typer.Option(help="Foundation model (default: sam2.1-large).")] = None,
    boxes: Annotated[Optional[Path], typer.Option(help="boxes.csv to use instead of the detector's.")] = None,
    epochs: Annotated[Optional[int], typer.Option(help="Passes over the training cases (default: 30).")] = None,
    batch_size: Annotated[Optional[int], typer.Option(help="Images an optimiser step (default: 8).")] = None,
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
        "distill.boxes_file": _text(boxes),
        "distill.epochs": epochs,
        "distill.batch_size": batch_size,
    }
    settings = _load(config, flags, overrides)
    from meddistill.stages.distill import run_distill

    run_distill(
        _run_dir(run), settings.distill, seed=settings.seed, device=device, overwrite=overwrite, out=out, data=data
    )


@app.command("eval")
def evaluate(
    runs: Annotated[
        Optional[list[Path]],
        typer.Argument(help="Directory of the experiment; several with --aggregate.", metavar="[RUN]"),
    ] = None,
    split: Annotated[Optional[str], typer.Option(help="train, val or test (default: test).")] = None,
    threshold: Annotated[
        Optional[float], typer.Option(help="Probability of a lesion pixel (default: the student's).")
    ] = None,
    student: Annotated[Optional[Path], typer.Option(help="Student to evaluate instead of RUN/student.")] = None,
    boxes: Annotated[Optional[Path], typer.Option(help="boxes.csv of the baselines.")] = None,
    flip_average: Annotated[
        Optional[bool], typer.Option("--flip-average", help="Average over the image and its mirror image.")
    ] = None,
    keep_largest: Annotated[
        Optional[bool], typer.Option("--keep-largest", help="Keep the student's largest component alone.")
    ] = None,
    min_component_px: Annotated[
        Optional[int], typer.Option(help="Remove smaller components of the student's mask (default: 0).")
    ] = None,
    compare: Annotated[
        Optional[tuple[str, str]],
        typer.Option(help="Paired difference of two finished evaluations: RUN, DIR:METHOD or METHOD, twice."),
    ] = None,
    aggregate: Annotated[
        bool, typer.Option("--aggregate", help="Take the evaluations of several RUNs together.")
    ] = False,
    data: Data = None,
    images: Annotated[Optional[Path], typer.Option(help="Without RUN: folder of images.")] = None,
    masks: Annotated[Optional[Path], typer.Option(help="Without RUN: folder of true masks, equal stems.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    out: Out = None,
) -> None:
    """Compare the student (and the baselines) with the true masks: numbers, pictures and a report in RUN/eval."""
    flags = {
        "seed": seed,
        "eval.split": split,
        "eval.threshold": threshold,
        "eval.flip_average": flip_average,
        "eval.keep_largest": keep_largest,
        "eval.min_component_px": min_component_px,
    }
    settings = _load(config, flags, overrides)
    if compare or aggregate:
        _compare_or_aggregate(runs or [], compare, aggregate, settings.seed, out)
        return
    from meddistill.stages.evaluate import run_eval, run_eval_folders

    if runs:
        run, *more = runs
        if more:
            raise ConfigError(f"eval takes one RUN, got {len(runs)}; --aggregate takes several")
        if images or masks:
            raise ConfigError("give either RUN or --images and --masks, not both")
        run_eval(
            _run_dir(run), settings.eval, seed=settings.seed, device=device, overwrite=overwrite, out=out, data=data,
            student=student, boxes=boxes,
        )  # fmt: skip
        return
    if not (images and masks and student and out):
        raise ConfigError("without RUN, eval needs all of --images, --masks, --student and --out")
    run_eval_folders(images, masks, student, out, settings.eval, seed=settings.seed, device=device, overwrite=overwrite)


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
    run_compare(*compare, seed=seed, run=_run_dir(runs[0]) if runs else None, out=out)


@app.command()
def predict(
    student: Annotated[Path, typer.Argument(help="Directory of the student, e.g. RUN/student.", metavar="STUDENT")],
    paths: Annotated[list[str], typer.Argument(help="Images, folders of images, or patterns.", metavar="PATHS...")],
    out: Annotated[Path, typer.Option(help="Directory for masks and predictions.csv.")],
    threshold: Annotated[
        Optional[float], typer.Option(help="Probability of a lesion pixel (default: the student's).")
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write probability maps.")] = False,
    overlays: Annotated[bool, typer.Option("--overlays", help="Also draw each mask on its image.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass; changes no result.")] = 16,
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


@app.command()
def export(
    student: Annotated[Path, typer.Argument(help="Directory of the student, e.g. RUN/student.", metavar="STUDENT")],
    file_format: Annotated[str, typer.Option("--format", help="onnx or torchscript.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="8-bit weights and activations (onnx).")] = False,
    images: Annotated[
        Optional[list[str]], typer.Option(help="Images to check it on (default: those of the student's RUN).")
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="File to write (default: STUDENT/student.onnx).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Turn a student into one file, pixels in and probabilities out, and check it against PyTorch."""
    from meddistill.stages.export import run_export

    run_export(student, file_format=file_format, int8=int8, images=images or (), out=out, overwrite=overwrite)


@app.command("run")
def run_all(
    run: Run,
    source: Annotated[Optional[Path], typer.Option(help="Folder of the images, with masks or boxes.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Do the four stages in order; finished ones are kept."""
    settings = _load(config, {"seed": seed, "prepare.source": _text(source)}, overrides)
    from meddistill.pipeline import run_pipeline

    run_pipeline(_run_dir(run), settings, device=device, overwrite=overwrite)


@app.command()
def demo(
    run: Annotated[Path, typer.Argument(help="Where to put the demo's files.", metavar="[RUN]")] = Path(
        "meddistill-demo"
    ),
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Show the whole pipeline on embedded sample data, without any download, in a few minutes."""
    from meddistill.pipeline import run_demo

    run_demo(_run_dir(run), device=device, overwrite=overwrite)


@app.command()
def verify(run: Run) -> None:
    """Check by hash that every file of RUN's finished stages is what the stage wrote."""
    from meddistill.stages.verify import run_verify

    run_verify(_run_dir(run))


@app.command()
def sources() -> None:
    """List the layouts that `prepare --dataset` reads."""
    from meddistill.data.sources.registry import describe_sources

    typer.echo(describe_sources())


@app.command()
def teachers(
    fetch: Annotated[Optional[str], typer.Option(help="Download and verify this teacher's weights now.")] = None,
) -> None:
    """List the teachers: licence, size, and which are on this machine."""
    from meddistill.models.teachers.registry import describe_teachers, fetch_teacher

    if fetch is not None:
        console.say(f"{fetch} is ready: {fetch_teacher(fetch)}")
        return
    typer.echo(describe_teachers())


def _run_dir(path: Path) -> Any:
    from meddistill.artifacts import RunDir  # brings NumPy, a third of the start-up time of `--help`

    return RunDir(path)


def _load(config: Path | None, flags: dict[str, Any], overrides: list[str] | None) -> Any:
    from meddistill.config_layers import load_config

    return load_config(config, flags, overrides or [])


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def main() -> None:
    """Entry point: a problem the user can mend is one line and status 1; a bug keeps its traceback.

    SIGINT and SIGTERM end with 130 and 143: files appear whole or not at all, so the same command goes on from there.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except MedDistillError as error:
        _fail(str(error))
    except Interrupted as interrupted:
        name = signal.Signals(interrupted.signal_number).name
        again = "the same command" if _processes() > 1 else shlex.join(["meddistill", *sys.argv[1:]])
        console.console.print(f"stopped by {name}; to continue: {again}", markup=False, soft_wrap=True)
        sys.exit(128 + interrupted.signal_number)
    except Exception as error:
        problem = disk_problem(error) or (lost_process(error) if _processes() > 1 else None)
        if problem is None:
            raise
        _fail(problem)


def _processes() -> int:
    """How many processes a launcher such as torchrun started for this command."""
    count = os.environ.get("WORLD_SIZE", "1")
    return int(count) if count.isdigit() else 1


def _fail(message: str) -> None:
    rank = os.environ.get("RANK", "0") if _processes() > 1 else "0"
    of_rank = "" if rank == "0" else f" (process {rank})"
    console.console.print(f"error{of_rank}: {message}", style="red", markup=False, soft_wrap=True)
    sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends at once
    raise Interrupted(number)
