"""The command that comes next for a RUN as it was found: one line, with its recorded options."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from meddistill.run.audits import audit_folder, may_audit
from meddistill.run.fingerprints import fingerprint_stage
from meddistill.run.layout import AUDIT_CSV, RUN_JSON, RunDir
from meddistill.run.looks import DONE, MISSING, OUTDATED, RUNNING, UNFINISHED, USUAL, Look
from meddistill.run.next_commands import (
    after_detect,
    after_distill,
    after_eval,
    after_prepare,
    command,
    eval_again,
    eval_of,
    to_audit,
)
from meddistill.run.recorded_options import options_of, teacher_to_name
from meddistill.run.tables import read_cases

_STAGES = set(USUAL.values())


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
        if look.state != DONE and look.stage in _STAGES:
            return _again(run, look)
    evaluated = {
        look.record.get("inputs", {}).get("student") for look in looks if look.stage == "eval"
    }
    for student in students:
        if fingerprint_stage(student.directory) not in evaluated:
            if (eval_of(run, student.directory) / RUN_JSON).exists():
                return eval_again(run, student.directory)
            return after_distill(run, student.directory)
    return _after_all(run, students[0], looks)


def _after_all(run: RunDir, student: Look, looks: Sequence[Look]) -> str:
    """To use the student; first to audit it where it was judged by no mask."""
    record = next((look.record for look in looks if look.directory == run.eval), {})
    split = record.get("settings", {}).get("split", "test")
    unjudged = record.get("results", {}).get("dice") == {} and split == "test"
    if student.directory != run.student or not unjudged or not may_audit(run):
        return after_eval(student.directory)
    if (audit_folder(run.labels) / AUDIT_CSV).exists():
        return eval_again(run, run.student)
    return to_audit(run)


def _is_superseded(looks: Sequence[Look]) -> bool:
    """Whether a student of other data than RUN holds now has another of these beside it."""
    students = {look.state for look in looks if look.stage == "distill"}
    return OUTDATED in students and bool(students & {DONE, RUNNING, UNFINISHED})


def _again(run: RunDir, look: Look) -> str:
    """The command that makes a directory again, or goes on with it, by its recorded options."""
    if look.stage == "prepare":
        line = begin(run)
    elif look.stage == "distill":
        line = _distill_again(run, look)
    elif look.stage == "teacher":
        line = command("distill", run, teacher=teacher_to_name(run))
    else:
        out = None if look.directory.name in USUAL else look.directory
        student = _student_of(run, look) if out and look.stage == "eval" else None
        options = options_of(look.stage, look.record)
        line = command(look.stage, run, *options, student=student, out=out)
    if look.state == UNFINISHED:
        return f"{line}  # with the options it was begun with: it goes on where it stopped"
    # The teacher's targets are keyed by what they depend on: they need no overwriting.
    return line if look.stage == "teacher" else f"{line} --overwrite"


def _student_of(run: RunDir, look: Look) -> Path | None:
    """The student that an evaluation beside RUN/eval is called after, if there is one."""
    student = run.root / f"student{look.directory.name.removeprefix('eval')}"
    return student if student.is_dir() else None


def _distill_again(run: RunDir, student: Look) -> str:
    options = options_of("distill", student.record)
    out = None if student.directory == run.student else student.directory
    return command("distill", run, *options, out=out)


def _first_time(run: RunDir, look: Look) -> str:
    if look.stage == "prepare":
        return begin(run)
    if look.stage == "detect":
        return after_prepare(run, run.data, read_cases(run.data))
    return {
        "distill": after_detect(run, run.detector),
        "eval": after_distill(run, run.student),
    }[look.stage]


def begin(run: RunDir) -> str:
    """What makes a RUN from a source."""
    return f"meddistill prepare {shlex.quote(str(run.root))} --source DIR"
