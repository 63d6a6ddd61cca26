"""`meddistill status`: which stages of RUN are done, what came out, and what to type next. Reads
only, and little."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meddistill.base import console
from meddistill.base.errors import InputError, MedDistillError
from meddistill.base.files import read_json
from meddistill.run import lock
from meddistill.run.audits import audit_folder, may_audit
from meddistill.run.headlines import headline
from meddistill.run.layout import (
    AUDIT_CSV,
    BOXES_CSV,
    METRICS_CSV,
    RUN_JSON,
    UNFINISHED_JSON,
    RunDir,
)
from meddistill.run.next_commands import (
    after_detect,
    after_distill,
    after_eval,
    after_prepare,
    command,
    eval_of,
    to_audit,
)
from meddistill.run.record import fingerprint_stage
from meddistill.run.recorded_options import options_of, teacher_to_name
from meddistill.run.tables import read_cases

DONE, OUTDATED, RUNNING, UNFINISHED, UNREADABLE, MISSING = (
    "done",
    "outdated",
    "running",
    "unfinished",
    "unreadable",
    "missing",
)
# The directories of RUN in the order they are made, and the stage that each holds.
_USUAL = {
    "data": "prepare",
    "detector": "detect",
    "teacher": "teacher",
    "student": "distill",
    "eval": "eval",
}
# `teacher` is made by distill.
_COMMANDS = {
    "prepare": "prepare",
    "detect": "detect",
    "teacher": "distill",
    "distill": "distill",
    "eval": "eval",
}


@dataclasses.dataclass(frozen=True)
class Look:
    """One directory of RUN as it was found. `stage`: what it holds; `record`: its run.json, {}
    where there is none.

    `text`: headline numbers, or what is wrong. `moment`: local time when it was finished or begun.
    """

    directory: Path
    stage: str
    state: str
    text: str = ""
    moment: str = ""
    seconds: float | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def run_status(run: RunDir) -> list[Look]:
    """Print a row a stage and one line `next: COMMAND`; returns the rows.

    Raises: InputError where RUN is not a directory.
    """
    if not run.root.is_dir():
        raise InputError(f"{run.root} is not there; `{_begin(run)}` makes it")
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
    usual = [run.root / name for name in _USUAL]
    looks = [_look(path) for path in [*usual, *sorted(others - set(usual))]]
    looks = [
        look for look in looks if look.stage != "phantom"
    ]  # the demo's sample images are a source
    looks.sort(key=lambda look: _rank(look.stage))
    return [_with_drawn(run, _compare(look, looks)) for look in looks]


def _rank(stage: str) -> int:
    order = list(_USUAL.values())
    return order.index(stage) if stage in order else len(order)


def _look(directory: Path) -> Look:
    name, half = directory.name, directory / UNFINISHED_JSON
    stage = _USUAL.get(name, name.split("-")[0])
    stage = _USUAL.get(stage, stage)
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
    if directory.name in _USUAL and found != expected:
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
    # Any directory may hold a student: a script's, too, such as the twin that true masks trained.
    if "student" in inputs and all(
        inputs["student"] != fingerprint_stage(one.directory) for one in by_name.values()
    ):
        yield "of a student that RUN does not hold now"
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


def next_command(run: RunDir, looks: Sequence[Look]) -> str:
    """What to type: the first stage that lacks something, else a student without an evaluation,
    else `predict`."""
    state = {look.directory.name: look.state for look in looks}
    superseded = _is_superseded(looks)
    students = [look for look in looks if look.stage == "distill" and look.state == DONE]
    if superseded:
        students.sort(key=lambda look: look.record["finished"], reverse=True)
    for look in looks:
        name = look.directory.name
        if look.state == RUNNING:
            return f"wait for {look.directory}: it is being written"
        if look.stage == "prepare" and look.state == OUTDATED:
            return f"{command('prepare', run)} --update"
        if superseded and (look.state == OUTDATED or look.stage == "eval"):
            continue  # to make it again would delete what a newer student may have begun from
        if look.stage == "teacher" and look.state == state["student"] == OUTDATED:
            continue  # made with the student, by the options of that
        if look.state == MISSING:
            # A student that is there needed no detector, and whoever has a student has no use for
            # targets alone.
            if name in ("detector", "teacher") and state["student"] in (DONE, OUTDATED):
                continue
            if name == "teacher":
                continue
            return _first_time(run, look)
        if look.stage == "teacher" and look.state == UNFINISHED and students:
            return f"{_distill_again(run, students[0])}  # makes its targets whole again"
        if look.state != DONE and look.stage in _COMMANDS:
            return _again(run, look)
    evaluated = {
        look.record.get("inputs", {}).get("student") for look in looks if look.stage == "eval"
    }
    for student in students:
        if fingerprint_stage(student.directory) not in evaluated:
            line = after_distill(run, student.directory)
            there = (eval_of(run, student.directory) / RUN_JSON).exists()
            return f"{line} --overwrite" if there else line
    return _after_all(run, students[0], looks)


def _after_all(run: RunDir, student: Look, looks: Sequence[Look]) -> str:
    """To use the student; first to audit it where it was judged by no mask."""
    record = next((look.record for look in looks if look.directory == run.eval), {})
    split = record.get("settings", {}).get("split", "test")
    unjudged = record.get("results", {}).get("dice") == {} and split == "test"
    if student.directory != run.student or not unjudged or not may_audit(run):
        return after_eval(student.directory)
    if (audit_folder(run.labels) / AUDIT_CSV).exists():
        return f"{after_distill(run, run.student)} --overwrite"
    return to_audit(run)


def _is_superseded(looks: Sequence[Look]) -> bool:
    """Whether a student of other data than RUN holds now has another of these beside it."""
    students = {look.state for look in looks if look.stage == "distill"}
    return OUTDATED in students and bool(students & {DONE, RUNNING, UNFINISHED})


def _again(run: RunDir, look: Look) -> str:
    """The command that makes a directory again, or goes on with it, by its recorded options."""
    if look.stage == "prepare":
        line = _begin(run)
    elif look.stage == "distill":
        line = _distill_again(run, look)
    elif look.stage == "teacher":
        line = command("distill", run, teacher=teacher_to_name(run))
    elif look.directory.name in _USUAL:
        line = command(_COMMANDS[look.stage], run)
    elif look.stage == "eval" and (student := _student_of(run, look)):
        line = after_distill(run, student)
    else:
        line = command(_COMMANDS[look.stage], run, out=look.directory)
    if look.state == UNFINISHED:
        return f"{line}  # with the options it was begun with: it goes on where it stopped"
    # The teacher's targets are keyed by what they depend on: they need no overwriting.
    return line if look.stage == "teacher" else f"{line} --overwrite"


def _student_of(run: RunDir, look: Look) -> Path | None:
    """The student that an evaluation beside RUN/eval is called after, if there is one."""
    student = run.root / f"student{look.directory.name.removeprefix('eval')}"
    return student if student.is_dir() else None


def _distill_again(run: RunDir, student: Look) -> str:
    options = options_of(student.record.get("settings", {}))
    out = None if student.directory == run.student else student.directory
    return command("distill", run, *options, out=out)


def _first_time(run: RunDir, look: Look) -> str:
    if look.stage == "prepare":
        return _begin(run)
    if look.stage == "detect":
        return after_prepare(run, run.data, read_cases(run.data))
    return {
        "distill": after_detect(run, run.detector),
        "eval": after_distill(run, run.student),
    }[look.stage]


def _begin(run: RunDir) -> str:
    return f"meddistill prepare {shlex.quote(str(run.root))} --source DIR"


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else console.duration(seconds)


def _moment(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M")


def _moment_of(path: Path) -> str:
    try:
        return _moment(datetime.fromtimestamp(path.stat().st_mtime, tz=UTC))
    except OSError:
        return ""
