"""What one `predict` is to do, what of it is done, and which share of it is this process's."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meddistill.base import console
from meddistill.base.csv_tables import write_table
from meddistill.base.errors import ConfigError, StageError
from meddistill.base.files import read_json
from meddistill.base.processes import launched
from meddistill.data.scans import ScanFiles
from meddistill.run.fingerprints import fingerprint_file
from meddistill.run.layout import (
    CONFIG_JSON,
    MODEL_SAFETENSORS,
    PREDICTIONS_CSV,
    PREPROCESSING_JSON,
    RUN_JSON,
    TRUST_JSON,
    UNFINISHED_JSON,
)
from meddistill.run.record import Stage, alone_in
from meddistill.student.export.onnx_student import ONNX_FILE
from meddistill.student.predicted_journal import Done, read_journals, stamp_of
from meddistill.student.predictions_table import PredictionRow
from meddistill.student.scan_masks import MaskOptions

SHARDS = "shards"
PREDICTED_JSONL = "predicted.jsonl"
BACKENDS = ("torch", "onnx")
NOTHING: Mapping[str, Done] = {}


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """What is predicted and written, and how.

    `threshold`: probability from which a pixel is lesion; None takes the student's. `probabilities`
    adds probability maps, `overlays` the mask on its image. `batch_size`: slices a forward pass;
    changes no result. `largest`, `median`, `channel`: as in `MaskOptions`. `resume`: what is done
    and intact stays. `shard`: I/N, the I-th of N shares of the scans; empty: all, or by torchrun's
    rank. `skip_broken`: scans that cannot be read are no failure. `backend`: `torch` or `onnx`.
    `review_below`: expected Dice below which a person should look; `review_sheet` adds a page of all
    of them, worst first. `ask_teacher`: the teacher says something of each mask, too; `refine`: its
    mask stands where more is to be expected of it.
    """

    threshold: float | None = None
    probabilities: bool = False
    overlays: bool = False
    batch_size: int = 16
    largest: bool = False
    median: int = 0
    channel: int | None = None
    resume: bool = True
    shard: str = ""
    skip_broken: bool = False
    backend: str = "torch"
    review_below: float = 0.7
    review_sheet: bool = False
    ask_teacher: bool = False
    refine: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold must lie in [0, 1], got {self.threshold}")
        if not 0 <= self.review_below <= 1:
            raise ConfigError(f"review_below must lie in [0, 1], got {self.review_below}")
        if self.median < 0 or (self.median and self.median % 2 == 0):
            raise ConfigError(f"median must be an odd number of voxels, or 0, got {self.median}")
        if self.backend not in BACKENDS:
            raise ConfigError(f"backend must be {' or '.join(BACKENDS)}, got '{self.backend}'")
        if self.asks and self.backend != "torch":
            raise ConfigError("--ask-teacher and --refine need --backend torch")
        if self.asks and self.threshold is not None:
            raise ConfigError(
                "--ask-teacher and --refine were fitted on masks at the student's own threshold: leave "
                "--threshold away"
            )
        self.part()

    @property
    def asks(self) -> bool:
        """Whether the teacher is asked: for its opinion, or for its mask."""
        return self.ask_teacher or self.refine

    def part(self) -> tuple[int, int]:
        """(I, N) of the share that this process does, I from 1. Raises: ConfigError."""
        processes = launched()
        text = self.shard or f"{processes.rank + 1}/{processes.count}"
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"shard is '{text}', expected I/N such as 2/4, counted from 1")
        return int(found[1]), int(found[2])

    @property
    def masks(self) -> MaskOptions:
        return MaskOptions(
            threshold=self.threshold,
            largest=self.largest,
            median=self.median,
            channel=self.channel,
            review_below=self.review_below,
            refine=self.refine,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What changes the result; what was added later only where it is used."""
        always = {name: getattr(self, name) for name in ("threshold", "probabilities", "overlays")}
        unused: dict[str, Any] = {"largest": False, "median": 0, "channel": None}
        unused |= {"backend": "torch", "review_below": 0.7, "review_sheet": False}
        unused |= {"ask_teacher": False, "refine": False}
        later = {name: getattr(self, name) for name in unused}
        return always | {name: value for name, value in later.items() if value != unused[name]}


@dataclasses.dataclass(frozen=True)
class PredictionJob:
    """One prediction: where it is written, its named scans, and by which student."""

    out: Path
    scans: Sequence[tuple[str, ScanFiles]]
    options: PredictOptions
    student_dir: Path

    def done(self, overwrite: bool, known: Mapping[str, Done] = NOTHING) -> dict[str, Done]:
        """By the name of a scan, what is done and intact; changes nothing. `known`: what was a moment
        ago, which is not read again."""
        if overwrite or not self.options.resume:
            return {}
        return self._done_before(self.options.identity, self._student_inputs(), known)

    def open(self, known: Mapping[str, Done], overwrite: bool) -> tuple[Stage, dict[str, Done]]:
        """The stage of this process's share, and what is done, now that no other process is at it.
        `known`: what was done before."""
        part, parts = self.options.part()
        out = self.out
        if parts > 1:
            self._refuse_foreign()
            out = out / SHARDS / f"{part}-of-{parts}"
        settings, student = self.options.identity, self._student_inputs()
        mine = self.scans if parts == 1 else self.scans[part - 1 :: parts]
        inputs = {str(given.path): stamp_of(given) for _, given in mine} | student
        # Where all is done nothing need be writable.
        whole = not overwrite and not self.todo(known)
        if whole and Stage.is_finished(out, "predict", settings, inputs):
            return Stage.open(out, "predict", settings, inputs), dict(known)
        with alone_in(out):
            done, same = self.done(overwrite, known), _was_made(out, settings, student)
            if same and not overwrite and (out / PREDICTED_JSONL).is_file():
                if not self.options.resume:
                    (out / PREDICTED_JSONL).unlink()
                if any(name not in done for name, _ in mine):
                    (out / RUN_JSON).unlink(missing_ok=True)  # what it stands for is not all there
            refresh = same or parts > 1
            stage = Stage.open(out, "predict", settings, inputs, overwrite, refresh)
            if not same:  # what another student or setting did would pass for this one's
                (out / PREDICTED_JSONL).unlink(missing_ok=True)
        return stage, done

    def todo(self, done: Mapping[str, Done]) -> list[tuple[str, ScanFiles]]:
        """This process's scans that are not done."""
        part, parts = self.options.part()
        return [each for each in self.scans[part - 1 :: parts] if each[0] not in done]

    def rows(
        self, done: Mapping[str, Done], scans: Sequence[tuple[str, ScanFiles]]
    ) -> list[PredictionRow]:
        return [row for name, _ in scans if name in done for row in done[name].table_rows()]

    def join(self, parts: int, device: str) -> dict[str, Done]:
        """Write the table of all shares, where this one was the last; returns what is in it, by the
        name of a scan."""
        folders = [self.out / SHARDS / f"{part + 1}-of-{parts}" for part in range(parts)]
        left = sum(not (folder / RUN_JSON).is_file() for folder in folders)
        if left:
            console.say(f"{left} of {parts} shares are not finished")
            return {}
        found = read_journals([folder / PREDICTED_JSONL for folder in folders])
        # By name and stamp: another machine may have its copy of a file elsewhere, of another date.
        given_there = {
            (Path(path).name, stamp)
            for folder in folders
            for path, stamp in read_json(folder / RUN_JSON).get("inputs", {}).items()
        }
        done = {
            name: found[name]
            for name, given in self.scans
            # Else it is of a file that was replaced.
            if name in found and (given.path.name, found[name].stamp) in given_there
        }
        rows = self.rows(done, self.scans)
        write_table(self.out / PREDICTIONS_CSV, PredictionRow, rows)
        inputs = {str(given.path): stamp_of(given) for _, given in self.scans}
        inputs |= self._student_inputs()
        try:
            stage = Stage.open(self.out, "predict", self.options.identity, inputs, refresh=True)
        except StageError as error:  # two shares ended at once, and both have all that there is
            console.say(f"the table of all is there; {error}")
            return done
        if not stage.finished:
            stage.finish(results_of(rows), [self.out / PREDICTIONS_CSV], device)
        return done

    def _done_before(
        self, settings: Mapping[str, Any], student: Mapping[str, str], known: Mapping[str, Done]
    ) -> dict[str, Done]:
        """By the name of a scan, what any process did of the very same files by the same student, and
        is intact; of what is `known` to be that is not asked."""
        folders = [self.out, *sorted((self.out / SHARDS).glob("*-of-*"))]
        folders = [each for each in folders if _was_made(each, settings, student)]
        found = read_journals([folder / PREDICTED_JSONL for folder in folders])
        return {
            name: found[name]
            for name, given in self.scans
            if name in found
            and found[name].is_of(given)
            and (found[name] == known.get(name) or found[name].is_intact(self.out))
        }

    def _student_inputs(self) -> dict[str, str]:
        names = [CONFIG_JSON, MODEL_SAFETENSORS, PREPROCESSING_JSON]
        if self.options.backend == "onnx":
            names.append(ONNX_FILE)
        if (self.student_dir / TRUST_JSON).is_file():
            names.append(TRUST_JSON)
        paths = {f"student/{name}": self.student_dir / name for name in names}
        return {
            name: fingerprint_file(path) if path.is_file() else "" for name, path in paths.items()
        }

    def _refuse_foreign(self) -> None:
        known = (RUN_JSON, UNFINISHED_JSON, SHARDS)
        there = self.out.is_dir() and any(self.out.iterdir())
        if there and not any((self.out / name).exists() for name in known):
            raise StageError(
                f"{self.out} is not empty and holds no predict stage; choose another directory with "
                "--out"
            )


def _was_made(out: Path, settings: Mapping[str, Any], student: Mapping[str, str]) -> bool:
    """Whether `out` holds a prediction with these settings by this student, of whatever files."""
    for path in (out / RUN_JSON, out / UNFINISHED_JSON):
        if path.is_file():
            found = read_json(path)
            inputs = found.get("inputs", {})
            known = {name: value for name, value in inputs.items() if name.startswith("student/")}
            return bool(found.get("settings") == dict(settings) and known == dict(student))
    return False


def results_of(rows: Sequence[PredictionRow]) -> dict[str, int]:
    images = {(row.source, row.slice) for row in rows}
    found = {(row.source, row.slice) for row in rows if row.area_px > 0}
    return {"images": len(images), "with_lesion": len(found)}
