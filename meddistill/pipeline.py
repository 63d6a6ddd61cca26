"""Several stages in a row: `meddistill run` on one's own data, `meddistill demo` on sample data,
and what goes before `meddistill label`."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from meddistill.base import console
from meddistill.base.errors import ConfigError, StageError
from meddistill.base.files import read_json
from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import GROUPS_CSV, REPORT_HTML, RUN_JSON, SUMMARY_JSON, RunDir
from meddistill.run.record import Stage
from meddistill.run.tables import read_cases
from meddistill.settings.config import Config
from meddistill.settings.detect import DetectConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig

if TYPE_CHECKING:
    from meddistill.stages.label import LabelRequest

DEMO_CASES = 140
DEMO_SEED = 0
LABEL_DEMO = "meddistill-label-demo"
LABEL_DEMO_CASES = 60

QUICKSTART = Config(
    prepare=PrepareConfig(dataset="folder"),
    detect=DetectConfig(weights="yolo11n.yaml", epochs=12, image_size=128, batch_size=4),
    distill=DistillConfig(
        teacher="litemedsam",
        student="unet",
        encoder="tu-test_resnet",
        encoder_weights="none",
        decoder_channels=[64, 48, 32, 16, 8],
        image_size=128,
        epochs=60,
        batch_size=4,
        lr=2e-3,
        feature_weight=0.0,
        ema_decay=0.99,
        precision="32-true",
        targets=TargetsConfig(jitter_copies=1, views="whole", logit_shift=0.5),
    ),
)
"""Small and quick, without any download. `configs/quickstart.yaml` says the same: a wheel has no
`configs/`."""


def run_pipeline(
    run: RunDir, config: Config, *, device: str = "auto", overwrite: bool = False
) -> Path:
    """Do prepare, detect, distill and eval in order, each as its own command would; returns
    RUN/eval.

    Finished stages are kept, an interrupted one is continued. Raises whatever a stage raises, after
    the stages before it are done.

    Args:
        run: the RUN.
        config: settings of all stages.
        device: of the stages that compute.
        overwrite: make finished stages anew.
    """
    stages = _stages(run, config, device, overwrite)
    for number, (title, start) in enumerate(stages, start=1):
        console.heading(f"stage {number} of {len(stages)}: {title}")
        begun = time.monotonic()
        with console.next_hidden() if number < len(stages) else nullcontext():
            start()
        console.say(f"{title.split(',')[0]} took {time.monotonic() - begun:.0f} s")
    return run.eval


def _stages(
    run: RunDir, config: Config, device: str, overwrite: bool
) -> list[tuple[str, Callable[[], Path]]]:
    # Each stage is imported when its turn comes: the first line appears at once, not after torch.
    def prepare() -> Path:
        from meddistill.stages.prepare import run_prepare

        return run_prepare(run, config.prepare, seed=config.seed, overwrite=overwrite)

    def detect() -> Path:
        from meddistill.stages.detect import run_detect

        return run_detect(run, config.detect, seed=config.seed, device=device, overwrite=overwrite)

    def distill() -> Path:
        from meddistill.stages.distill import run_distill

        return run_distill(
            run, config.distill, seed=config.seed, device=device, overwrite=overwrite
        )

    def evaluate() -> Path:
        from meddistill.evaluation.request import EvalRequest
        from meddistill.stages.evaluate import run_eval

        request = EvalRequest(device=device, overwrite=overwrite)
        return run_eval(run, config.eval, request, seed=config.seed)

    return [
        ("prepare, images and boxes", prepare),
        ("detect, boxes for every case", detect),
        ("distill, the teacher's masks and the student", distill),
        ("eval, the student against the true masks", evaluate),
    ]


def run_demo(run: RunDir, *, device: str = "auto", overwrite: bool = False) -> Path:
    """Write sample data to RUN/source, do the four stages with `QUICKSTART`, say what came out;
    returns RUN/eval."""
    _write_source(run, overwrite)
    source = run.root / "source"
    prepare = dataclasses.replace(
        QUICKSTART.prepare, source=str(source), groups=str(source / GROUPS_CSV)
    )
    begun = time.monotonic()
    run_pipeline(
        run, dataclasses.replace(QUICKSTART, prepare=prepare), device=device, overwrite=overwrite
    )
    console.answer(demo_answer(run, time.monotonic() - begun))
    return run.eval


def run_label_folder(
    folder: Path | None, request: LabelRequest, *, into: Path | None = None, demo: bool = False
) -> None:
    """Label a RUN, or a folder of images, which becomes one first; says where it lies.

    Raises: ConfigError, InputError and StageError for what the user can mend.

    Args:
        folder: the RUN or the images; with `demo` the RUN to make.
        request: how to label.
        into: the RUN that images become; runs/NAME of the folder where none is given.
        demo: draw sample slices first, which nobody has boxed.
    """
    from meddistill.stages.label import run_label

    if demo:
        run = RunDir(folder or Path(LABEL_DEMO))
        _write_source(run, False, LABEL_DEMO_CASES, masks=False)
        source = run.root / "source"
        _prepare_to_label(run, PrepareConfig(source=str(source), groups=str(source / GROUPS_CSV)))
    elif folder is None:
        raise ConfigError("give a RUN, or a folder of images; --demo needs neither")
    elif not folder.is_dir() or (folder / "data").is_dir():
        run = RunDir(folder)
    else:
        run = RunDir(into or Path("runs") / folder.resolve().name)
        _check_same_images(run, folder)
        _prepare_to_label(run, PrepareConfig(source=str(folder)))
        request = dataclasses.replace(request, source=request.source or folder)
        console.say(f"the images of {folder} lie in the RUN {run.root}")
    run_label(run, request)


def _prepare_to_label(run: RunDir, config: PrepareConfig) -> None:
    """Images that are new there become cases, and the earlier ones keep their split."""
    from meddistill.stages.prepare import run_prepare

    with console.next_hidden():
        run_prepare(run, config, seed=DEMO_SEED, update=True, to_label=True)


def _check_same_images(run: RunDir, folder: Path) -> None:
    """Raise StageError where the RUN was made of another folder: an update would take its cases
    away."""
    if not (run.data / RUN_JSON).exists():
        return
    cases = read_cases(run.data)
    gone = [case for case in cases if not (folder / case.source.partition("#")[0]).exists()]
    if 2 * len(gone) > len(cases):
        raise StageError(
            f"{run.root} holds other images than {folder}, such as {gone[0].source}; label it as "
            "it is by its own name, or choose another RUN with --into"
        )


def demo_answer(run: RunDir, seconds: float) -> str:
    """The end of the demo: the student's Dice beside the filled boxes', where to look, what to type
    next."""
    summary = read_json(run.eval / SUMMARY_JSON)
    lines = [
        f"The demo is done ({seconds:.0f} s). Mean Dice on the {summary['n_cases']} test slices, "
        "heads it never saw:"
    ]
    for method, label in (
        ("student", "student: needs no box and no GPU"),
        ("boxes", "detector's boxes, filled in"),
        ("teacher", "teacher, prompted with the detector's boxes"),
    ):
        if method in summary["methods"]:
            lines.append(f"  {summary['methods'][method]['metrics']['dice']['mean']:.3f}  {label}")
    return "\n".join([*lines, "", *_next_steps(run)])


def _next_steps(run: RunDir) -> list[str]:
    steps = [
        ("the report, in a browser", str(run.eval / REPORT_HTML)),
        (
            "the student on other images",
            f"meddistill predict {run.student} IMAGES... --out predictions",
        ),
        ("your own data, DIR/images with DIR/masks", "meddistill prepare runs/mine --source DIR"),
        ("then, stage by stage", "meddistill detect runs/mine --help (then distill, eval)"),
    ]
    width = max(len(what) for what, _ in steps)
    return [f"{what:<{width}}  {command}" for what, command in steps]


def _write_source(
    run: RunDir, overwrite: bool, cases: int = DEMO_CASES, masks: bool = True
) -> None:
    """Sample data as a stage of its own, so that it is resumed, kept or refused as the others
    are; images alone without `masks`.

    Args:
        run: the RUN, whose `source` they become.
        overwrite: draw them anew.
        cases: how many.
        masks: whether the true masks are kept.
    """
    settings = {"cases": cases, "seed": DEMO_SEED} | ({} if masks else {"masks": False})
    stage = Stage.open(run.root / "source", "phantom", settings, {}, overwrite=overwrite)
    if not stage.finished:
        console.say(f"drawing {cases} sample slices that look like head MRI: {stage.out}")
        write_phantom(stage.out, cases=cases, seed=DEMO_SEED)
        if not masks:
            shutil.rmtree(stage.out / "masks")
        stage.finish({}, [stage.out / GROUPS_CSV])
