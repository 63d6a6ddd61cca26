"""All that a student knows of its own trustworthiness, and the two files that it lies in: trust.json
for what a person may read, trust.safetensors for the arrays."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from meddistill.base.errors import InputError, in_one_line
from meddistill.base.files import atomic_path, read_json, write_json
from meddistill.base.hashing import sha256_file
from meddistill.data.findings import as_planes
from meddistill.run.layout import MODEL_SAFETENSORS, TRUST_JSON, TRUST_SAFETENSORS
from meddistill.student.trust.fits import SIGNALS, Interval, Line, Meaning
from meddistill.student.trust.input_checks import InputRanges
from meddistill.student.trust.likeness import Likeness

_VERSION = 2
_READ = (1, 2)
"""1 knows no `present_look`."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """Expected Dice by signals, with its interval: `line` over `SIGNALS` and what follows them (the
    logarithm of the distance)."""

    line: Line
    interval: Interval


@dataclasses.dataclass(frozen=True)
class FindingTrust:
    """What is known of one finding. None: nobody could fit it.

    `expected`: by the student alone; `asked`: with a teacher's opinion too (`trust.asked`), and
    `refined`: of that teacher's mask. `present`: odds that anything is there, by `SIGNALS`, taken as
    a yes from `present_cut` on; `present_look` (D,): what is added to their logarithm for each of
    `Likeness.looks`. `meaning`: of its probabilities.
    """

    expected: Expected | None = None
    present: Line | None = None
    present_cut: float = 0.5
    present_look: np.ndarray | None = None
    meaning: Meaning = dataclasses.field(default_factory=Meaning)
    asked: Expected | None = None
    refined: Expected | None = None


@dataclasses.dataclass(frozen=True)
class AskedTeacher:
    """The teacher whose opinion was fitted: as `load_teacher` takes it, with the fingerprint of its
    weights and what is added to its logits."""

    name: str
    checkpoint: str
    fingerprint: str
    logit_shift: float


@dataclasses.dataclass(frozen=True)
class Trust:
    """By finding, and what images like its own are like. `facts`: what it was fitted on, with
    `sentences` for a reader; JSON. `teacher`: whose opinion was fitted, too; None: nobody's."""

    findings: tuple[FindingTrust, ...]
    likeness: Likeness | None = None
    inputs: InputRanges | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    teacher: AskedTeacher | None = None

    @property
    def meanings(self) -> tuple[Meaning, ...]:
        return tuple(each.meaning for each in self.findings)

    @property
    def least_familiarity(self) -> float:
        """The smallest that any image could have; 0 where it is unknown."""
        return 0.0 if self.likeness is None else self.likeness.least

    def calibrated(self, probs: np.ndarray) -> np.ndarray:
        """What raw probabilities (H, W) or (C, H, W) mean, of the same shape."""
        planes = zip(self.meanings, as_planes(probs), strict=True)
        meant = [meaning(plane) for meaning, plane in planes]
        return meant[0] if probs.ndim == 2 else np.stack(meant)


def save_trust(directory: Path, trust: Trust) -> None:
    """Write trust.safetensors, then trust.json beside the weights that it is of."""
    arrays: dict[str, np.ndarray] = {}
    if trust.likeness is not None:
        held = trust.likeness
        arrays |= {"mean": held.mean, "scale": held.scale, "kept": held.kept, "held": held.held}
        for name in ("directions", "references"):
            arrays[name] = getattr(held, name).astype(np.float16)
    if trust.inputs is not None:
        arrays["thumbnails"] = trust.inputs.thumbnails
    for place, finding in enumerate(trust.findings):
        if finding.present_look is not None:
            arrays[_look(place)] = finding.present_look.astype(np.float32)
    inputs = None
    if trust.inputs is not None:
        inputs = dataclasses.asdict(trust.inputs)
        del inputs["thumbnails"]
    weights_sha256 = sha256_file(directory / MODEL_SAFETENSORS)
    with atomic_path(directory / TRUST_SAFETENSORS) as temporary:
        safetensors.numpy.save_file(arrays, temporary)
        arrays_sha256 = sha256_file(temporary)
    about = {
        "version": _VERSION,
        "weights_sha256": weights_sha256,
        "arrays_sha256": arrays_sha256,
        "signals": list(SIGNALS),
        "findings": [_plain_finding(each) for each in trust.findings],
        "inputs": inputs,
        "facts": dict(trust.facts),
        "teacher": None if trust.teacher is None else dataclasses.asdict(trust.teacher),
    }
    # Infinite where nothing looked odd: JSON knows no infinity that every reader takes.
    write_json(directory / TRUST_JSON, json.loads(json.dumps(about).replace("Infinity", "1e308")))


def load_trust(directory: Path) -> Trust | None:
    """What `save_trust` left beside these weights; None for a student of an earlier version.

    Raises: InputError for files that are damaged, or of other weights.
    """
    path = directory / TRUST_JSON
    if not path.is_file():
        return None
    again = "run `meddistill calibrate` for it again, or remove the file"
    found = read_json(path)
    try:
        if found["version"] not in _READ or found["signals"] != list(SIGNALS):
            raise InputError(f"{path} is of another version of meddistill: {again}")
        if found["weights_sha256"] != sha256_file(directory / MODEL_SAFETENSORS):
            raise InputError(f"{path} is of other weights than {MODEL_SAFETENSORS}: {again}")
        beside = directory / TRUST_SAFETENSORS
        if not beside.is_file() or found["arrays_sha256"] != sha256_file(beside):
            raise InputError(f"{path} does not go with {TRUST_SAFETENSORS}: {again}")
        arrays = safetensors.numpy.load_file(beside)
        return Trust(
            tuple(
                _finding(each, arrays.get(_look(place)))
                for place, each in enumerate(found["findings"])
            ),
            _likeness(arrays),
            _inputs(found["inputs"], arrays),
            found["facts"],
            None if found.get("teacher") is None else AskedTeacher(**found["teacher"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {in_one_line(error)}): {again}"
        ) from error


def remove_trust(directory: Path) -> None:
    """Before other weights are written: what was known is of the old ones."""
    for name in (TRUST_JSON, TRUST_SAFETENSORS):
        (directory / name).unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _plain_finding(finding: FindingTrust) -> dict[str, Any]:
    found: dict[str, Any] = _plain(dataclasses.asdict(finding))
    del found["present_look"]  # hundreds of numbers: with the arrays
    return found


def _look(place: int) -> str:
    """The name of the array of a finding's `present_look`."""
    return f"present_look.{place}"


def _finding(found: Mapping[str, Any], look: np.ndarray | None) -> FindingTrust:
    return FindingTrust(
        present_look=look,
        expected=_expected(found["expected"]),
        present=_line(found["present"]),
        present_cut=float(found["present_cut"]),
        meaning=Meaning(**found["meaning"]),
        asked=_expected(found.get("asked")),
        refined=_expected(found.get("refined")),
    )


def _expected(found: Mapping[str, Any] | None) -> Expected | None:
    if found is None:
        return None
    parts = found["interval"]
    interval = Interval(*(np.array(parts[name], float) for name in ("at", "low", "high")))
    line = _line(found["line"])
    assert line is not None
    return Expected(line, interval)


def _line(found: Mapping[str, Any] | None) -> Line | None:
    return None if found is None else Line(np.array(found["weights"], float), float(found["bias"]))


def _likeness(arrays: Mapping[str, np.ndarray]) -> Likeness | None:
    if "references" not in arrays:
        return None
    names = [field.name for field in dataclasses.fields(Likeness)]
    return Likeness(*(arrays[name].astype(np.float32) for name in names))


def _inputs(
    found: Mapping[str, Any] | None, arrays: Mapping[str, np.ndarray]
) -> InputRanges | None:
    if found is None:
        return None
    spans = {name: tuple(found[name]) for name in ("longest", "aspect", "grey")}
    return InputRanges(**{**found, **spans, "thumbnails": arrays["thumbnails"]})
