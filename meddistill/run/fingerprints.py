"""What identifies the outputs of stages to those that are made from them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from meddistill.base.files import read_json
from meddistill.base.hashing import sha256_file
from meddistill.run.layout import RUN_JSON, TRUST_JSON


def fingerprint_stage(directory: Path) -> str:
    """What identifies a finished stage's output to the stages after it: identity and output hashes,
    not dates. An output that was changed since, as a threshold that somebody set by hand, counts as it
    is now."""
    record = read_json(directory / RUN_JSON)
    parts = {key: record.get(key) for key in ("stage", "settings", "inputs", "outputs")}
    if isinstance(parts["outputs"], dict):
        written = (directory / RUN_JSON).stat().st_mtime_ns
        parts["outputs"] = {
            name: _as_it_is(directory / name, about, written)
            for name, about in parts["outputs"].items()
        }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_of_other_data(directory: Path, data_dir: Path) -> bool:
    """Whether a finished stage was made from other data than these; False where it does not say."""
    made_of = (read_json(directory / RUN_JSON).get("inputs") or {}).get("data")
    return made_of is not None and made_of != fingerprint_stage(data_dir)


def _as_it_is(path: Path, about: Any, written_ns: int) -> Any:
    """What run.json would say of an output now; as in git's index, what has its size and is no younger
    than run.json, which is written last, is not read. One that is missing is as it was: who needs it
    says so."""
    try:
        status = path.stat()
    except OSError:
        return about
    if not isinstance(about, dict) or (
        status.st_size == about.get("bytes") and status.st_mtime_ns <= written_ns
    ):
        return about
    return {"bytes": status.st_size, "sha256": sha256_file(path)}


def fingerprint_file(path: Path) -> str:
    return sha256_file(path)


def fingerprint_trust(student_dir: Path) -> str | None:
    """What identifies what a student says of itself, which `calibrate` fits again; None: nothing."""
    path = student_dir / TRUST_JSON
    return fingerprint_file(path) if path.is_file() else None
