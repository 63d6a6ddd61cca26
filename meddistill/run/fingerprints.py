"""What identifies the outputs of stages to those that are made from them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from meddistill.base.errors import InputError
from meddistill.base.files import read_json
from meddistill.base.hashing import fingerprint_source, hash_files, sha256_file
from meddistill.run.layout import (
    CONFIG_JSON,
    MODEL_SAFETENSORS,
    PREPROCESSING_JSON,
    RUN_JSON,
    TRUST_JSON,
)

_CASE_FILES = (".txt", ".png")
_known: ContextVar[dict[Path, str] | None] = ContextVar("known", default=None)


@contextmanager
def looked_at_once() -> Iterator[None]:
    """In it, or in a function that it decorates, the files of each finished stage are looked at once:
    of a million labels on a network disk that takes minutes."""
    if _known.get() is not None:
        yield
        return
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def fingerprint_stage(directory: Path) -> str:
    """What identifies a finished stage's output to the stages after it: identity and output hashes,
    not dates. An output that was changed since, as a threshold that somebody set by hand, counts as it
    is now."""
    known = _known.get()
    if known is None:
        return _fingerprint(directory)
    if directory not in known:
        known[directory] = _fingerprint(directory)
    return known[directory]


def _fingerprint(directory: Path) -> str:
    record = read_json(directory / RUN_JSON)
    parts = {key: record.get(key) for key in ("stage", "settings", "inputs", "outputs")}
    if isinstance(parts["outputs"], dict):
        parts["outputs"] = {
            name: _as_it_is(directory / name, about, directory / RUN_JSON)
            for name, about in parts["outputs"].items()
        }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_of_other_data(directory: Path, data_dir: Path) -> bool:
    """Whether a finished stage was made from other data than these; False where it does not say."""
    made_of = (read_json(directory / RUN_JSON).get("inputs") or {}).get("data")
    return made_of is not None and made_of != fingerprint_stage(data_dir)


def describe_output(path: Path) -> dict[str, Any]:
    """What run.json says of an output: `bytes` and `sha256`, of a folder (labels, masks) together
    with the number of `files`. Raises: InputError where it cannot be read."""
    if not path.is_dir():
        return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    files = case_files(path)
    return {
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": fingerprint_source(hash_files(files, path), path),
    }


def case_files(folder: Path) -> list[Path]:
    """The files of an output folder that a stage wrote, sorted; not what other programs keep beside
    them (Ultralytics its cache of labels, macOS a hidden file beside each on a network drive)."""
    return sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder)  # rglob lists each folder twice
        for name in names
        if name.endswith(_CASE_FILES) and not name.startswith(".")
    )


def changed_since(path: Path, about: Mapping[str, Any], record: Path) -> list[Path]:
    """What of an output is not as run.json says by size, number and date, which is read anew by who
    needs to know; as in git's index, what has its size and is no younger than run.json, which is
    written last, counts as unchanged. Of a folder the younger files, or the folder itself."""
    written_ns = record.stat().st_mtime_ns
    files = case_files(path) if path.is_dir() else [path]
    sizes = [file.stat() for file in files]
    younger = [
        file for file, size in zip(files, sizes, strict=True) if size.st_mtime_ns > written_ns
    ]
    as_many = len(files) == about.get("files", 1)
    as_large = sum(size.st_size for size in sizes) == about.get("bytes")
    return younger or ([] if as_many and as_large else [path])


def _as_it_is(path: Path, about: Any, record: Path) -> Any:
    """What run.json would say of an output now. One that is missing is as it was: who needs it says
    so."""
    if not path.exists() or not isinstance(about, dict) or not changed_since(path, about, record):
        return about
    return describe_output(path)


def fingerprint_file(path: Path) -> str:
    return sha256_file(path)


def fingerprint_student(student_dir: Path) -> str:
    """What identifies a student, also one that was copied without its run.json. Raises: InputError
    where the directory holds none."""
    if (student_dir / RUN_JSON).exists():
        return fingerprint_stage(student_dir)
    files = [student_dir / name for name in (CONFIG_JSON, MODEL_SAFETENSORS, PREPROCESSING_JSON)]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise InputError(f"{student_dir} is not a student: it has no {missing[0]}")
    return fingerprint_source(hash_files(files, student_dir), student_dir)


def fingerprint_trust(student_dir: Path) -> str | None:
    """What identifies what a student says of itself, which `calibrate` fits again; None: nothing."""
    path = student_dir / TRUST_JSON
    return fingerprint_file(path) if path.is_file() else None
