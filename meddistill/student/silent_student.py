"""What a user is told where a student says nothing of itself."""

from __future__ import annotations

import shlex
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.files import read_json
from meddistill.run.layout import (
    MODEL_SAFETENSORS,
    PREPROCESSING_JSON,
    RUN_JSON,
    TRUST_JSON,
    RunDir,
)


def what_is_silent(student_dir: Path, is_familiar: bool) -> str:
    """What a student does not say that marked no image for review, why, and how it is made to.
    `is_familiar`: whether it says how familiar an image is."""
    how = how_to_know(student_dir)
    if not is_familiar:
        return f"{student_dir} does not say how far it is to be trusted: {how}"
    told = [
        f"{student_dir} says how familiar an image is, and no more: nothing is marked for review."
    ]
    told += read_json(student_dir / TRUST_JSON).get("facts", {}).get("too_few", [])
    return f"{' '.join(told)} With more own images familiarity could mark some: {how}"


def how_to_know(student_dir: Path) -> str:
    """How such a student is made to say how far it is to be trusted, or that it cannot."""
    stored = student_dir / PREPROCESSING_JSON
    if stored.is_file() and read_json(stored).get("tiled"):  # `calibrate` refuses it
        return "one that sees images in tiles never does"
    # Fitted in vain: own images are what it lacks.
    more, taught = "", ""
    if (student_dir / TRUST_JSON).is_file():
        more, taught = " --images DIR", ", on images in DIR that taught it nothing"
    told = f"`{to_calibrate(student_dir, more)}` fits that, without training{taught}"
    if (RunDir(student_dir.parent).data / RUN_JSON).exists():
        return told
    return f"{told}, where RUN is the one that the student came from"


def to_calibrate(student_dir: Path, more: str = "") -> str:
    """The command that fits what this very student says of itself; `more`: options of it."""
    run = RunDir(student_dir.parent)
    if student_dir.name == run.student.name and (run.data / RUN_JSON).exists():
        return f"meddistill calibrate RUN{more}"
    return f"meddistill calibrate RUN{more} --student {shlex.quote(str(student_dir))}"


def refuse_student_as_run(run: RunDir) -> None:
    """Raise InputError where a student's directory was given for the RUN that it came from."""
    if (run.data / RUN_JSON).exists() or not (run.root / MODEL_SAFETENSORS).is_file():
        return
    given = shlex.quote(str(run.root))
    raise InputError(
        f"{run.root} is a student; calibrating needs the RUN that it came from, with its data and "
        f"teacher: `meddistill calibrate RUN --student {given}`"
    )
