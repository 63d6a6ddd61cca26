"""Runs stages in processes that kill themselves: started by test_interruption, told what to do line
by line.

Each job is a fork of this process, which has imported everything and computed nothing: a kill costs
a second, not the ten of a fresh start. A job {"stage", "run", "kill_at", "limit"} answers
{"status", "events", "error"}: the exit status (-9 where it was killed), how often it renamed a file
(before and after) or made a step until its end, and what a command would have said. `limit`: no
file may grow beyond this many bytes, as on a full disk; 0 for none.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import torch
from support.evaluation_data import BrightnessStudent
from support.painting_teacher import PaintingTeacher
from support.tiny_student import TinyStudent

from meddistill.base import console
from meddistill.base.errors import MedDistillError, disk_problem
from meddistill.run.layout import RunDir
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.training import fitting
from meddistill.training.optimiser_step import OptimiserStep

DISTILL = DistillConfig(
    encoder_weights="none",
    image_size=64,
    epochs=3,
    batch_size=4,
    precision="32-true",
    test_targets=False,
    targets=TargetsConfig(jitter_copies=2),
)


class Events:
    """Counts what happens and kills this process when the count is reached."""

    def __init__(self, kill_at):
        self.count, self.kill_at = 0, kill_at

    def __call__(self):
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function):
        def counted(*arguments, **options):
            self()
            result = function(*arguments, **options)
            self()
            return result

        return counted


def do(stage, root):
    run = RunDir(root)
    if stage == "prepare":
        run_prepare(run, PrepareConfig(source=str(root / "source"), dataset="folder"), seed=0)
    elif stage == "distill":
        run_distill(run, DISTILL, device="cpu", teacher=PaintingTeacher())
    else:
        run_eval(run, EvalConfig(gallery_cases=3), seed=0, predictor=BrightnessStudent())


def child(job, answer):
    events = Events(job["kill_at"])
    os.replace = events.around(os.replace)
    OptimiserStep.take = events.around(OptimiserStep.take)
    error = ""
    if job["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"], job["limit"]))
    try:
        do(job["stage"], Path(job["run"]))
    except Exception as raised:
        error = (
            str(raised) if isinstance(raised, MedDistillError) else disk_problem(raised)
        ) or repr(raised)
    os.write(answer, json.dumps({"events": events.count, "error": error}).encode())
    return int(bool(error))


def main():
    console.set_quiet(True)
    torch.set_num_threads(1)
    fitting.build_student = lambda *_, **__: TinyStudent()
    for line in sys.stdin:
        job = json.loads(line)
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)  # what a command prints is no answer
            os.dup2(quiet, 2)
            status = 2
            try:
                status = child(job, writable)
            finally:
                os._exit(status)
        os.close(writable)
        _, status = os.waitpid(pid, 0)
        found = json.loads(os.read(readable, 4096) or b'{"events": 0, "error": ""}')
        os.close(readable)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), **found}), flush=True)


if __name__ == "__main__":
    main()
