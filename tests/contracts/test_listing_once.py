"""No stage lists a directory more than once: with a million files on a network disk that is minutes
each time."""

import os
import sys
from collections import Counter

from support.evaluation_data import BrightnessStudent
from support.painting_teacher import PaintingTeacher
from support.tiny_student import TinyStudent

from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import RunDir
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.stages.status import run_status
from meddistill.training import fitting

LISTED = None


def _note(event, arguments):
    if LISTED is not None and event in ("os.scandir", "os.listdir"):
        where = arguments[0]
        LISTED[
            os.readlink(f"/proc/self/fd/{where}")
            if isinstance(where, int)
            else os.fspath(where or ".")
        ] += 1


sys.addaudithook(_note)  # cannot be taken back, so it looks at LISTED


def listings(root, work):
    global LISTED
    LISTED = Counter()
    try:
        work()
        return {path: count for path, count in LISTED.items() if path.startswith(str(root))}
    finally:
        LISTED = None


def test_no_stage_lists_a_directory_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "build_student", lambda *_, **__: TinyStudent())
    write_phantom(tmp_path / "source", cases=16, seed=0, size=64)
    run = RunDir(tmp_path / "run")
    config = DistillConfig(
        encoder_weights="none",
        image_size=64,
        epochs=1,
        batch_size=4,
        targets=TargetsConfig(jitter_copies=1),
        precision="32-true",
        test_targets=False,
    )
    stages = {
        "prepare": lambda: run_prepare(
            run, PrepareConfig(source=str(tmp_path / "source"), dataset="folder"), seed=0
        ),
        "distill": lambda: run_distill(run, config, device="cpu", teacher=PaintingTeacher()),
        "eval": lambda: run_eval(
            run, EvalConfig(baselines=False), seed=0, predictor=BrightnessStudent()
        ),
        "status": lambda: run_status(run),
    }
    for name, work in stages.items():
        found = listings(tmp_path, work)
        found.pop(str(run.root), None)  # holds a folder a stage
        assert max(found.values(), default=0) <= 1, (name, found)
