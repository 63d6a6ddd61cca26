"""The command that comes next, as a line to paste."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from meddistill.run.few_boxes import has_few_boxes
from meddistill.run.layout import BOXES_CSV, RunDir
from meddistill.run.recorded_options import options_of, recorded, teacher_to_name
from meddistill.run.tables import Case


def command(name: str, run: RunDir, *words: str, **options: Path | str | None) -> str:
    """A command line to paste; options that are None are not on it."""
    line = ["meddistill", name, str(run.root), *words]
    for option, value in options.items():
        if value is not None:
            line += [f"--{option}", str(value)]
    return shlex.join(line)


def after_prepare(run: RunDir, out: Path, cases: Sequence[Case]) -> str:
    """Where nobody looked at any image, boxes are drawn next; where few have one, no detector is
    needed."""
    if all(case.annotation == "unknown" for case in cases):
        return command("label", run)
    data = _unless(out, run.data)
    if has_few_boxes(cases):
        return command("distill", run, teacher=teacher_to_name(run), data=data)
    return command("detect", run, data=data)


def after_detect(run: RunDir, out: Path, data: Path | None = None) -> str:
    boxes = None if out == run.detector else out / BOXES_CSV
    return command("distill", run, teacher=teacher_to_name(run), data=data, boxes=boxes)


def after_distill(run: RunDir, out: Path, data: Path | None = None) -> str:
    """An evaluation of its own for a student of its own."""
    other = _unless(out, run.student)
    own = _unless(eval_of(run, out), run.eval)
    return command("eval", run, data=data, student=other, out=own)


def eval_of(run: RunDir, student: Path) -> Path:
    """Where a student's evaluation goes: RUN/student-NAME goes with RUN/eval-NAME."""
    if student == run.student:
        return run.eval
    return run.root / f"eval-{student.name.removeprefix('student-')}"


def eval_again(run: RunDir, student: Path, **changed: str) -> str:
    """The evaluation of a student anew, with the options that the one that is there was made with, but
    for those `changed`."""
    there = eval_of(run, student)
    record = recorded(there)
    words = options_of("eval", {**record, "settings": {**record.get("settings", {}), **changed}})
    other, own = _unless(student, run.student), _unless(there, run.eval)
    return f"{command('eval', run, *words, student=other, out=own)} --overwrite"


def to_audit(run: RunDir) -> str:
    """Where nobody has drawn a mask: settle some of the student's, by which it is judged then."""
    return command("label", run, "--audit", "30")


def after_eval(student: Path) -> str:
    return f"meddistill predict {shlex.quote(str(student))} IMAGES... --out predictions"


def _unless(path: Path, usual: Path) -> Path | None:
    return None if path == usual else path
