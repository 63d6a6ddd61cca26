"""Short rounds of the pipeline while one labels (`label --train`): the boxes so far make a student,
and what it and the heads are worth says whether more boxes would help.

A round works on a copy below RUN/labels/rounds, by commands of their own at the lowest priority:
RUN itself changes only when somebody types `prepare --update`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import InputError, StageError
from meddistill.base.files import read_json
from meddistill.labelling.journal import SUFFIX
from meddistill.run import lock
from meddistill.run.layout import CURVE_CSV, ENCODINGS, RUN_JSON, RunDir

FIRST_AT = 10
"""Boxed images before the first round."""
GROWTH = 1.25
"""And between two of them: so many times as many, at least ten more."""
SETTINGS = (
    "distill.image_size=128",
    "distill.batch_size=8",
    "distill.epochs=4",
    "distill.colearning.steps=200",
    "distill.test_targets=false",
)
"""Of a short round; all else is the default."""
OFF, WAITING, TRAINING, FAILED = "off", "waiting", "training", "failed"
_LINKED = ".png"
_NAP_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one round came to, a row of curve.csv: images with a box, `agreement` of the student with
    the teacher where validation images were boxed, `head_dice` and `half_dice` of heads from all
    and from half of the boxes on images that they did not see, all in [0, 1] or None; `told`:
    whether more boxes would help, in one line."""

    boxed: int
    agreement: float | None
    head_dice: float | None
    half_dice: float | None
    told: str


def run_command(arguments: Sequence[str], started: Callable[[subprocess.Popen[str]], None]) -> str:
    """Run `meddistill` with `arguments` on the cores that are left; returns the last line that it
    said where it failed, else nothing. `started` gets the process."""
    cores = max(1, (os.cpu_count() or 2) - 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "meddistill", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "OMP_NUM_THREADS": str(cores)},
        process_group=0,  # Ctrl+C is for the page alone
    )
    with contextlib.suppress(OSError, AttributeError):  # Windows has no such thing
        os.setpriority(os.PRIO_PROCESS, process.pid, 19)
    started(process)
    said = process.communicate()[0].strip().splitlines()
    return "" if not process.returncode else (said or ["it was ended"])[-1]


class Rounds:
    """Rounds over the RUN `run`, as more images are boxed (`boxed` counts them). `teacher`: its
    name. `command`: as `run_command`."""

    def __init__(
        self,
        run: RunDir,
        teacher: str,
        boxed: Callable[[], int],
        command: Callable[..., str] = run_command,
    ) -> None:
        self.run = run
        self.place = rounds_run(run)
        self.teacher = teacher
        self.points: list[CurvePoint] = []
        self.state, self.message = WAITING, ""
        self._boxed = boxed
        self._command = command
        self._ended = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._work, name="rounds", daemon=True)
        with contextlib.suppress(InputError):  # none yet
            self.points = read_table(self.place.root / CURVE_CSV, CurvePoint)

    def start(self) -> None:
        """Begin. Raises: StageError where somebody's rounds of this RUN run already."""
        try:
            lock.acquire(self.place.root)
        except StageError:
            raise StageError(
                f"{self.run.root} is being trained in rounds already, on what everybody draws, by "
                "another `meddistill label --train`; label without --train"
            ) from None
        self._thread.start()

    def end(self) -> None:
        """Stop, and the round that is under way with it."""
        self._ended.set()
        if self._process is not None:
            self._process.terminate()
        if self._thread.is_alive():
            self._thread.join()
        lock.release(self.place.root)

    def told(self) -> dict[str, Any]:
        """What the page shows: the state, when the next round begins, and the curve so far."""
        return {
            "state": self.state,
            "message": self.message,
            "next_at": self.next_at(),
            "points": [dataclasses.asdict(point) for point in self.points],
        }

    def next_at(self) -> int:
        """Boxed images at which the next round begins."""
        last = max((point.boxed for point in self.points), default=0)
        return max(FIRST_AT, last + FIRST_AT, round(GROWTH * last))

    def _work(self) -> None:
        while not self._ended.wait(_NAP_S):
            boxed = self._boxed()
            if boxed < self.next_at():
                continue
            self.state, self.message = TRAINING, ""
            try:
                self._round(boxed)
            except (InputError, OSError) as error:
                if not self._ended.is_set():
                    self.state, self.message = FAILED, str(error)
                return
            self.state = WAITING

    def _round(self, boxed: int) -> None:
        """Raises: InputError with what a command said last; OSError for a disk that refuses."""
        self._lay_out()
        root = str(self.place.root)
        sets = [part for each in SETTINGS for part in ("--set", each)]
        for arguments in (
            ["prepare", root, "--update"],
            ["distill", root, "--teacher", self.teacher, "--device", "cpu", *sets],
        ):
            failed = self._command(arguments, self._started)
            if failed:
                raise InputError(f"a round of training stopped: {failed}")
        point = read_point(self.place, boxed)
        self.points = [*self.points, point]
        write_table(self.place.root / CURVE_CSV, CurvePoint, self.points)

    def _started(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        if self._ended.is_set():
            process.terminate()

    def _lay_out(self) -> None:
        """RUN's data and journals as they are now; pictures are linked, not copied, and the
        teacher's encodings are RUN's own."""
        for folder in (self.place.data, self.place.teacher, self.place.student, self.place.labels):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(
            self.run.data,
            self.place.data,
            copy_function=_copy_or_link,
            ignore=shutil.ignore_patterns("masks", ".*"),
        )
        self.place.labels.mkdir(parents=True)
        for journal in self.run.labels.glob(f"*{SUFFIX}"):
            shutil.copy2(journal, self.place.labels / journal.name)
        encodings = self.run.teacher / ENCODINGS
        encodings.mkdir(parents=True, exist_ok=True)
        self.place.teacher.mkdir()
        with contextlib.suppress(OSError):  # without links it is encoded again
            (self.place.teacher / ENCODINGS).symlink_to(encodings.resolve(), True)


def rounds_run(run: RunDir) -> RunDir:
    """Where the rounds of a RUN lie, a RUN of their own."""
    return RunDir(run.labels / "rounds")


def read_point(place: RunDir, boxed: int) -> CurvePoint:
    """What the finished round in `place` came to. Raises: InputError where there is none."""
    results = read_json(place.student / RUN_JSON)["results"]
    more = results.get("more_boxes") or {}
    return CurvePoint(
        boxed,
        results.get("agreement"),
        more.get("dice"),
        more.get("half_dice"),
        more.get("told", ""),
    )


def _copy_or_link(source: str, target: str) -> None:
    if Path(source).suffix == _LINKED:
        with contextlib.suppress(OSError):  # another disk
            os.link(source, target)
            return
    shutil.copy2(source, target)
