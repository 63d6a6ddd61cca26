"""`distill` under torchrun and srun: two processes share one cache, train one student, and stop together."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.bright_squares import prepare_squares
from support.paths import TESTS

from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import (
    BELIEFS_NPZ,
    COLEARNING_CSV,
    LAST_CKPT,
    QUALITY_CSV,
    RUN_JSON,
    RunDir,
)
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare

pytestmark = pytest.mark.slow

# The command itself; teacher and student cost nothing. No BatchNorm: torch synchronises it on GPUs
# alone.
JOB = """
import sys
from pathlib import Path
from support.painting_teacher import PaintingTeacher
from support.tiny_student import TinyStudent
from meddistill.cli import app as cli
from meddistill.run.layout import RunDir
from meddistill.settings.distill import DistillConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.training import fitting
from meddistill.stages.distill import run_distill

fitting.build_student = lambda *_, **__: TinyStudent(per_case=True)
config = DistillConfig(
    encoder_weights="none", image_size=64, epochs=int(sys.argv[2]), batch_size=4, precision="32-true", augment=False,
    test_targets=False, targets=TargetsConfig(jitter_copies=2),
)
cli.app = lambda: run_distill(RunDir(Path(sys.argv[1])), config, device="cpu", teacher=PaintingTeacher())
cli.main()
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    path = tmp_path_factory.mktemp("job") / "job.py"
    path.write_text(JOB)
    return path


@pytest.fixture
def run(tmp_path):
    write_phantom(tmp_path / "source", cases=24, seed=0, size=64)
    prepared = RunDir(tmp_path / "run")
    run_prepare(prepared, PrepareConfig(source=str(tmp_path / "source"), dataset="folder"), seed=0)
    return prepared


def start(job, run, epochs, processes=2):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [
        sys.executable,
        *(launcher if processes > 1 else []),
        str(job),
        str(run.root),
        str(epochs),
    ]
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def start_by_srun(job, run, epochs):
    """Two tasks of one job step, in a job that Lightning takes for an interactive one."""
    step = {
        "SLURM_JOB_NAME": "bash",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NODELIST": "localhost",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(job), str(run.root), str(epochs)]
    return [
        subprocess.Popen(
            command,
            env={**os.environ, **step, "SLURM_PROCID": task, "SLURM_LOCALID": task},
            stderr=subprocess.PIPE,
            text=True,
        )
        for task in ("0", "1")
    ]


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def curve(folder, column):
    with (folder / "metrics.csv").open() as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def rank(pid):
    """RANK of a process, or None where it is none of ours."""
    pairs = dict(
        item.split("=", 1)
        for item in Path(f"/proc/{pid}/environ").read_text().split("\0")
        if item.count("=")
    )
    return pairs.get("RANK")


def children(process):
    return [
        int(pid)
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_two_processes_make_what_one_makes(job, run, tmp_path, launcher):
    started = [start(job, run, 3)] if launcher == "torchrun" else start_by_srun(job, run, 3)
    errors = "".join(finish(process) for process in started)
    assert errors.count("next: meddistill eval") == 1  # rank 0 alone speaks
    shared = {path.name: path.read_bytes() for path in (run.teacher / "targets").iterdir()}
    alone = tmp_path / "alone"
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "data").symlink_to(run.data)
    finish(start(job, RunDir(alone), 3, processes=1))
    assert {
        path.name: path.read_bytes() for path in (alone / "teacher" / "targets").iterdir()
    } == shared
    assert (alone / "teacher" / QUALITY_CSV).read_bytes() == (
        run.teacher / QUALITY_CSV
    ).read_bytes()
    for column in ("loss", "feature", "agreement"):
        assert curve(run.student, column) == pytest.approx(
            curve(alone / "student", column), rel=2e-3
        )


FEW_JOB = JOB.replace(
    "test_targets=False,",
    "test_targets=False, colearning=ColearningConfig(steps=6, head_steps=20, heads=2, rounds=1),",
).replace(
    "import sys\n", "import sys\nfrom meddistill.settings.colearning import ColearningConfig\n", 1
)


def test_two_processes_settle_what_one_believes_of_unboxed_images(tmp_path):
    job = tmp_path / "few.py"
    job.write_text(FEW_JOB)
    together = prepare_squares(tmp_path, count=16, boxed=6)
    alone = RunDir(tmp_path / "alone")
    alone.root.mkdir()
    (alone.root / "data").symlink_to(together.data)
    finish(start(job, together, 2))
    finish(start(job, alone, 2, processes=1))
    for name in (BELIEFS_NPZ, COLEARNING_CSV):
        assert (together.student / name).read_bytes() == (alone.student / name).read_bytes()
    assert curve(together.student, "loss") == pytest.approx(curve(alone.student, "loss"), rel=2e-3)


def test_a_process_that_dies_stops_the_others_and_the_same_command_goes_on(job, run):
    process = start(job, run, 120)
    while not (run.student / LAST_CKPT).exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    second = next(pid for pid in children(process) if rank(pid) == "1")
    os.kill(second, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    # torchrun ends the first process, too; which of the two it hears of first is chance.
    assert (
        "another process of this job ended" in errors or "to continue: the same command" in errors
    )
    assert not (run.student / RUN_JSON).exists()
    before = len(curve(run.student, "loss"))
    assert 0 < before < 120

    finish(start(job, run, 120))
    assert (run.student / RUN_JSON).exists()
    assert len(curve(run.student, "loss")) == 120
