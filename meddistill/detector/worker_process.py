"""The process that Ultralytics runs in (`worker.py`): its start, its environment, its events, its log,
and how it fails."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import meddistill
from meddistill.base.cores import usable_cores
from meddistill.base.errors import InputError, MedDistillError, WeightsError
from meddistill.base.files import write_text
from meddistill.base.processes import TORCHRUN_VARIABLES

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclasses.dataclass(frozen=True)
class WorkerOptions:
    """How the process of Ultralytics runs; nothing of it changes a result.

    `device`: `auto`, `cpu`, `cuda` or `cuda:N`. `trust_weights`: load weights even where that runs
    code inside the file. `log`: where its console goes, None for nowhere.
    """

    device: str = "auto"
    trust_weights: bool = False
    log: Path | None = None


def run_worker(
    job: dict[str, Any], options: WorkerOptions, weights: Path | None
) -> Iterator[dict[str, Any]]:
    """Yield the events of one worker process; it never outlives this generator or this process.

    Raises: WeightsError for `weights` that it refused; InputError for an image that it could not
    read; MedDistillError for any other end before its job is done.
    """
    with (
        _log_file(options.log) as log_file,
        tempfile.TemporaryDirectory(prefix="meddistill-") as scratch,
    ):
        worker = subprocess.Popen(
            [sys.executable, "-m", "meddistill.detector.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            encoding="utf-8",
            env=_environment(Path(scratch), options.trust_weights),
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        last: dict[str, Any] = {}
        try:
            worker.stdin.write(json.dumps({**job, "device": options.device}) + "\n")
            worker.stdin.flush()
            for line in worker.stdout:
                last = json.loads(line)
                yield last
            worker.wait()
        except BrokenPipeError:
            worker.wait()
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
            worker.stdout.close()
            with suppress(BrokenPipeError):
                worker.stdin.close()
    if last.get("event") != "done":
        _raise_failure(last, worker.returncode, weights, options.log)


def _raise_failure(
    last: dict[str, Any], status: int, weights: Path | None, log: Path | None
) -> None:
    message = str(last.get("message", f"its process ended with status {status}"))[:300]
    if last.get("kind") == "weights":
        raise WeightsError(
            f"{weights} was not loaded as a detector: {message}. Weights that need code of their "
            "own to load are "
            "refused; if you know where the file comes from, pass --trust-weights"
        )
    if "cannot be read as an image" in message:
        raise InputError(message)
    raise MedDistillError(
        f"the detector failed: {message}" + (f"; all of it is in {log}" if log else "")
    )


def _environment(scratch: Path, trust_weights: bool) -> dict[str, str]:
    """The worker's environment: nothing written to the home directory, nothing downloaded,
    installed or reported."""
    settings = scratch / "Ultralytics"
    settings.mkdir()
    (
        settings / "Arial.ttf"
    ).touch()  # plots are off; without a font it would look for one on the network
    package = str(Path(meddistill.__file__).resolve().parents[1])
    environment = {
        name: value for name, value in os.environ.items() if name not in TORCHRUN_VARIABLES
    }
    environment.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    return environment | {
        "YOLO_CONFIG_DIR": str(scratch),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "true",
        "ULTRALYTICS_SAFE_LOAD": "0" if trust_weights else "1",
        "MPLCONFIGDIR": str(scratch),
        "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def _log_file(log: Path | None) -> Iterator[Any]:
    if log is None:
        yield subprocess.DEVNULL
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("a", encoding="utf-8") as file:
            yield file
    finally:
        write_text(log, tidy_console(log.read_text(encoding="utf-8", errors="replace")))


def tidy_console(text: str) -> str:
    """What a terminal would show in the end: without colours, and of a bar redrawn in place its
    last state."""
    lines = (
        _ESCAPES.sub("", line).rstrip("\r").rsplit("\r", 1)[-1].rstrip()
        for line in text.split("\n")
    )
    return "\n".join(lines)
