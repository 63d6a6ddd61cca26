"""How `stored_run.tar.xz` was made, by the code of commit 64402a2; it goes with no other commit.

In a checkout of that commit: PYTHONPATH=.:tests python make_stored_run.py OUT. README.md, beside
this file, says what is in it. About a minute on two cores.
"""

import os
import shutil
import signal
import sys
import tarfile
from pathlib import Path

import torch
from meddistill.artifacts import RunDir
from meddistill.config import (
    DetectConfig,
    DistillConfig,
    EvalConfig,
    PrepareConfig,
    TargetsConfig,
)
from meddistill.data.phantom import write_phantom
from meddistill.distillation import learning, training
from meddistill.errors import Interrupted
from meddistill.models.nested_unet import NestedUNet
from painting_teacher import PaintingTeacher

from meddistill.cli import _interrupt
from meddistill.stages.detect import run_detect
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.predict import run_predict
from meddistill.stages.prepare import run_prepare

# As tests/contracts/test_stored_run.py has them.
PREPARE = PrepareConfig(source="source", dataset="folder", groups="source/groups.csv")
DETECT = DetectConfig(
    weights="yolo11n.yaml",
    epochs=1,
    image_size=64,
    batch_size=4,
    confidence=0.0,
    max_boxes=1,
)
DISTILL = DistillConfig(
    student="nested_unet",
    encoder_weights="none",
    image_size=64,
    epochs=30,
    batch_size=2,
    lr=2e-2,
    ema_decay=0.9,
    precision="32-true",
    picture_every=0,
    targets=TargetsConfig(jitter_copies=2, feature_grid=8),
)
EVAL = EvalConfig(gallery_cases=2)
STOP_AT_STEP = 138  # five steps an epoch: in the middle of the 28th of 30
DROPPED = (
    "events.out.tfevents*",
    "*.pt",
    "train.log",
    "report.html",
    "overlays",
    ".*",
    "previous.ckpt",
    "least_trusted.png",
)


def distill_until(run, out, step):
    """Distil in a process that is told to stop at this step, as by Ctrl-C or a batch queue."""
    pid = os.fork()
    if pid:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return
    signal.signal(signal.SIGTERM, _interrupt)
    steps, step_of = [], training._Run._step

    def counted(*arguments):
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return step_of(*arguments)

    training._Run._step = counted
    try:
        run_distill(run, DISTILL, device="cpu", out=out, teacher=PaintingTeacher())
    except Interrupted:
        os._exit(0)
    os._exit(1)


def main(out):
    torch.set_num_threads(1)
    learning.build_student = lambda *_, **__: NestedUNet((4, 4, 6, 6, 8))
    out.mkdir(parents=True)
    os.chdir(out)
    run = RunDir(Path("run"))
    write_phantom(Path("source"), cases=16, seed=0, size=64)
    run_prepare(run, PREPARE, seed=0)
    run_detect(run, DETECT, seed=0, device="cpu")
    run_distill(run, DISTILL, device="cpu", teacher=PaintingTeacher())
    distill_until(run, run.root / "student-half", STOP_AT_STEP)
    run_eval(run, EVAL, seed=0)
    images = sorted((run.data / "images" / "test").glob("*.png"))
    run_predict(run.student, [str(path) for path in images], run.root / "predictions")
    shutil.copytree(run.root, "kept", ignore=shutil.ignore_patterns(*DROPPED))
    shutil.copytree("source", "kept/source")
    Path("kept/student/last.ckpt").unlink()
    with tarfile.open("stored_run.tar.xz", "w:xz") as archive:
        archive.add("kept", "run")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
