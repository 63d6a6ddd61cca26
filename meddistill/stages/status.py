"""`meddistill status`: which stages of RUN are done, what came out, and what to type next. Reads
only, and little."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meddistill.base import console
from meddistill.base.errors import InputError, MedDistillError
from meddistill.base.files import read_json
from meddistill.run import lock
from meddistill.run.fingerprints import fingerprint_stage, fingerprint_trust, looked_at_once
from meddistill.run.headlines import headline
from meddistill.run.layout import BOXES_CSV, METRICS_CSV, RUN_JSON, UNFINISHED_JSON, RunDir
from meddistill.run.looks import (
    DONE,
    MISSING,
    OUTDATED,
    RUNNING,
    UNFINISHED,
    UNREADABLE,
    USUAL,
    Look,
)
from meddistill.run.what_next import begin, next_command


@looked_at_once()
def run_status(run: RunDir) -> list[Look]:
    """Print a row a stage and one line `next: COMMAND`; returns the rows.

    Raises: InputError where RUN is not a directory.
    """
    if not run.root.is_dir():
        raise InputError(f"{run.root} is not there; `{begin(run)}` makes it")
    looks = survey(run)
    rows = [
        (look.directory.name, look.state, look.moment, _duration(look.seconds), look.text)
        for look in looks
    ]
    console.answer_table(("stage", "state", "when", "took", "what came out"), rows)
    console.answer(f"next: {next_command(run, looks)}")
    return looks


def survey(run: RunDir) -> list[Look]:
    """The usual stages, there or not, and every other directory that a stage made; those of a kind
    together."""
    others = {
        path.parent for name in (RUN_JSON, UNFINISHED_JSON) for path in run.root.glob(f"*/{name}")
    }
    usual = [run.root / name for name in USUAL]
    looks = [_look(path) for path in [*usual, *sorted(others - set(usual))]]
    looks = [
        look for look in looks if look.stage != "phantom"
    ]  # the demo's sample images are a source
    looks.sort(key=lambda look: _rank(look.stage))
    return [_with_drawn(run, _compare(look, looks)) for look in looks]


def _rank(stage: str) -> int:
    order = list(USUAL.values())
    return order.index(stage) if stage in order else len(order)


def _look(directory: Path) -> Look:
    name, half = directory.name, directory / UNFINISHED_JSON
    stage = USUAL.get(name, name.split("-")[0])
    stage = USUAL.get(stage, stage)
    if lock.is_held(directory):
        return Look(directory, stage, RUNNING, _progress(directory), _moment_of(half))
    try:
        if (directory / RUN_JSON).exists():
            record = _read(directory / RUN_JSON)
            stage = _stage_in(directory, record, stage)
            facts = headline(stage, record.get("results", {}))
            text = "; ".join(f"{label} {value}" for label, value in facts)
            when = datetime.fromisoformat(record["finished"])
            return Look(
                directory, stage, DONE, text, _moment(when), float(record["seconds"]), record
            )
        if half.exists():
            record = _read(half)
            stage = _stage_in(directory, record, stage)
            moment = _moment_of(half)
            return Look(directory, stage, UNFINISHED, _progress(directory), moment, record=record)
    except MedDistillError as error:
        return Look(directory, stage, UNREADABLE, str(error))
    except (KeyError, TypeError, ValueError) as error:
        return Look(
            directory,
            stage,
            UNREADABLE,
            f"{directory / RUN_JSON} lacks what a stage writes: {error}",
        )
    return Look(directory, stage, MISSING)


def _stage_in(directory: Path, record: Mapping[str, Any], expected: str) -> str:
    found = str(record["stage"])
    if directory.name in USUAL and found != expected:
        raise InputError(f"it holds the stage '{found}', not {expected}")
    return found


def _read(path: Path) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict) or not all(
        isinstance(record.get(key, {}), dict)
        for key in ("inputs", "settings", "results", "outputs")
    ):
        raise InputError(f"{path} is not what a stage writes")
    return record


def _progress(directory: Path) -> str:
    """How far a training is that is under way: its log has a row an epoch."""
    try:
        with (directory / METRICS_CSV).open(encoding="utf-8") as file:
            return f"{max(0, sum(1 for _ in file) - 1)} epochs so far"
    except (OSError, UnicodeDecodeError):
        return ""


def _compare(look: Look, looks: Sequence[Look]) -> Look:
    """The same, marked where it was made from something else than RUN holds now."""
    if look.state != DONE:
        return look
    differences = list(_differences(look, looks))
    if not differences:
        return look
    return dataclasses.replace(look, state=OUTDATED, text="; ".join([*differences, look.text]))


def _with_drawn(run: RunDir, look: Look) -> Look:
    """The same, marked where people drew boxes since the data were made."""
    if look.directory != run.data or look.state != DONE or not run.labels.is_dir():
        return look
    from meddistill.labelling.into_data import drawn_since  # reads images, which takes its time

    try:
        if not drawn_since(run, look.record.get("inputs", {})):
            return look
        told = f"boxes were drawn in {run.labels} since"
    except MedDistillError as error:
        told = str(error)
    return dataclasses.replace(look, state=OUTDATED, text=f"{told}; {look.text}")


def _differences(look: Look, looks: Sequence[Look]) -> Iterator[str]:
    inputs = look.record.get("inputs", {})
    by_name = {other.directory.name: other for other in looks if other.state == DONE}
    for name in ("data", "teacher"):
        if (
            name in inputs
            and name in by_name
            and inputs[name] != fingerprint_stage(by_name[name].directory)
        ):
            yield f"made from another {name} than RUN holds now"
    if "student" in inputs:
        # Any directory may hold a student: a script's, too, such as the twin that true masks trained.
        places = [one.directory for one in by_name.values()]
        students = [place for place in places if fingerprint_stage(place) == inputs["student"]]
        if not students:
            yield "of a student that RUN does not hold now"
        elif look.stage == "eval" and inputs.get("trust") not in map(fingerprint_trust, students):
            yield "of a student that was calibrated again since"
    boxes = inputs.get("boxes")
    # Boxes from a file elsewhere were meant to be others.
    given = any(other.record.get("settings", {}).get("boxes_file") for other in looks)
    if (
        look.stage == "teacher"
        and boxes
        and boxes != "annotated only"
        and "detector" in by_name
        and not given
    ):
        table = by_name["detector"].record.get("outputs", {}).get(BOXES_CSV, {})
        if isinstance(table, dict) and table.get("sha256") != boxes:
            yield "prompted by other boxes than RUN/detector holds now"


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else console.duration(seconds)


def _moment(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M")


def _moment_of(path: Path) -> str:
    try:
        return _moment(datetime.fromtimestamp(path.stat().st_mtime, tz=UTC))
    except OSError:
        return ""
