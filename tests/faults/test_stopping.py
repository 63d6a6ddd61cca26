"""Two writers, a full disk, a signal: one line each, the right exit status, and nothing
half-written."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from meddistill.base.errors import (
    StageError,
    disk_problem,
    lost_device,
    lost_process,
    missing_operator,
    too_little_memory,
)
from meddistill.base.files import write_text
from meddistill.run import lock
from meddistill.run.layout import RUN_JSON, UNFINISHED_JSON
from meddistill.run.record import Stage

OPEN_AND_WAIT = """
import sys, time
from pathlib import Path
from meddistill.run.record import Stage
stage = Stage.open(Path(sys.argv[1]), "fake", {"a": 1}, {})
print("open", flush=True)
time.sleep(60)
"""
MAIN = """
import resource, sys, time
from pathlib import Path
from meddistill.base import files
from meddistill.cli import app as cli
def app():
    print("begun", flush=True)
    if sys.argv[1] == "wait":
        time.sleep(60)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    files.write_text(Path(sys.argv[1]), "x" * 5000)
cli.app = app
cli.main()
"""


def start(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() in ("open", "begun")
    return process


def open_stage(out, **settings):
    return Stage.open(out, "fake", {"a": 1}, {}, **settings)


def test_a_second_process_stops_at_the_lock_and_names_the_first(tmp_path):
    first = start(OPEN_AND_WAIT, tmp_path / "out")
    try:
        with pytest.raises(
            StageError, match=rf"out is being written by process {first.pid} on \S+; wait"
        ):
            open_stage(tmp_path / "out")
        with pytest.raises(StageError, match="is being written by process"):
            open_stage(tmp_path / "out", overwrite=True)
        assert (tmp_path / "out" / UNFINISHED_JSON).exists()
    finally:
        first.kill()
        first.communicate()
    # Killed, it left its lock file; nobody holds it.
    assert json.loads(lock.lock_path(tmp_path / "out").read_text())["pid"] == first.pid
    assert open_stage(tmp_path / "out").resumed


def test_a_lock_file_of_another_host_that_nobody_holds_is_taken_over(tmp_path):
    lock.lock_path(tmp_path / "out").write_text('{"pid": 1, "host": "elsewhere"}')
    assert not open_stage(tmp_path / "out").finished


def test_the_lock_goes_with_the_stage(tmp_path):
    out = tmp_path / "out"
    stage = open_stage(out)
    again = open_stage(out)  # the same process may
    assert again.resumed
    del again
    assert lock.lock_path(out).exists()
    stage.finish({}, [])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert open_stage(out).finished
    with pytest.raises(StageError, match="was 1, now 2"):
        Stage.open(out, "fake", {"a": 2}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_ranks_of_a_distributed_job_open_what_the_first_has_locked(tmp_path, monkeypatch):
    first = start(OPEN_AND_WAIT, tmp_path / "out")
    try:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert open_stage(tmp_path / "out").resumed
    finally:
        first.kill()
        first.communicate()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_finished_stage_is_recognised_where_nothing_may_be_written(tmp_path):
    open_stage(tmp_path / "out").finish({}, [])
    (tmp_path / "out").chmod(0o500)
    tmp_path.chmod(0o500)
    try:
        assert open_stage(tmp_path / "out").finished
    finally:
        tmp_path.chmod(0o700)
        (tmp_path / "out").chmod(0o700)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_status_and_how_to_continue(number, status):
    process = start(MAIN, "wait")
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status
    assert errors.strip() == f"stopped by {number.name}; to continue: meddistill wait"


def test_a_full_disk_is_one_line_and_leaves_the_old_file_alone(tmp_path):
    target = tmp_path / "table.csv"
    write_text(target, "old")
    process = start(MAIN, target)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.strip().startswith("error: a file grew beyond the size")
    assert len(errors.strip().splitlines()) == 1
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "/x/y"), "/x/y: the disk is full"),
        (PermissionError(13, "Permission denied", "/x"), "/x: permission denied"),
        (OSError("100000 requested and 2484 written"), "the disk is full"),
        (
            RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 576 vs 534"),
            "the disk is full",
        ),
        (
            Exception("Error while serializing: I/O error: File too large (os error 27)"),
            "a file grew beyond",
        ),
        (OSError(30, "Read-only file system"), "the file system is read-only"),
        (
            NotADirectoryError(20, "Not a directory", "/x"),
            "/x: a file lies there, expected a folder",
        ),
        (FileExistsError(17, "File exists", "/x"), "/x: a file lies there, expected a folder"),
        (IsADirectoryError(21, "Is a directory", "/x"), "/x: a folder lies there, expected a file"),
        (OSError(36, "File name too long", "/x"), "/x: the name is longer than this disk takes"),
    ],
)
def test_disk_problems_of_every_library_are_recognised(error, line):
    assert disk_problem(error).startswith(line)
    wrapped = ValueError("outer")
    wrapped.__cause__ = error
    assert disk_problem(wrapped).startswith(line)


@pytest.mark.parametrize(
    "bug",
    [KeyError("a"), RuntimeError("shapes differ"), FileNotFoundError(2, "No such file", "/x")],
)
def test_a_bug_is_not_taken_for_a_disk_problem(bug):
    assert disk_problem(bug) is None


def test_run_json_is_written_last_and_whole(tmp_path):
    stage = open_stage(tmp_path / "out")
    write_text(tmp_path / "out" / "result.txt", "1")
    stage.finish({}, [tmp_path / "out" / "result.txt"])
    assert sorted(path.name for path in Path(tmp_path / "out").iterdir()) == [
        "result.txt",
        RUN_JSON,
    ]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[/x/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:36527: Connection reset "
            "by peer."
        ),
        RuntimeError("[1] gloo timed out waiting through 1800000ms for recv operation to complete"),
        type("DistBackendError", (RuntimeError,), {})("NCCL error"),
    ],
)
def test_a_lost_process_of_a_distributed_job_is_one_line(error):
    assert "the same command goes on from the last epoch" in lost_process(error)
    assert lost_process(RuntimeError("shape mismatch")) is None


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: uncorrectable ECC error encountered",
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "No CUDA GPUs are available",
        "CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    ],
)
def test_a_device_that_went_away_is_one_line(said):
    told = lost_device(RuntimeError(said))
    assert told.startswith(
        f"the device went away ({said.splitlines()[0]}); nothing finished is lost"
    )
    assert "\n" not in told


@pytest.mark.parametrize(
    "bug",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        ValueError("CUDA error: unspecified launch failure"),
    ],
)
def test_a_bug_is_not_taken_for_a_lost_device(bug):
    assert lost_device(bug) is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nSee the docs"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError("Unable to allocate 4.00 GiB for an array"),
        torch.AcceleratorError(
            "CUDA error: out of memory\nCUDA kernel errors might be reported late"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_memory_that_ran_out_is_one_line_that_says_what_to_set(error):
    told = too_little_memory(error)
    assert "\n" not in told
    assert "lower distill.batch_size or distill.image_size, or distill.targets.views=whole" in told
    assert told.endswith("a new student: pass --overwrite, or another --out")
    assert too_little_memory(error, "predict").endswith("or with a lower --batch-size")
    assert too_little_memory(error, "eval").endswith("or with --set eval.batch_size=1")


def test_a_bug_is_not_taken_for_too_little_memory():
    assert too_little_memory(RuntimeError("shapes differ")) is None


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (
            NotImplementedError(
                "The operator 'aten::linalg_eigh' is not currently implemented for the MPS device. If "
                "you want this op to be added\nplease comment"
            ),
            "the operator aten::linalg_eigh",
        ),
        (
            TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't"),
            "numbers of 64 bits",
        ),
        (NotImplementedError("The operator 'aten::x' is not currently supported by CUDA"), None),
        (TypeError("unsupported operand"), None),
    ],
)
def test_what_an_apple_gpu_lacks_is_named(error, what):
    told = missing_operator(error)
    if what is None:
        assert told is None
    else:
        assert told.startswith(f"--device mps lacks {what}; nothing finished is lost")
        assert "\n" not in told
