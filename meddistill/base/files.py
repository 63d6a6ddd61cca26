"""Files that appear whole or not at all: text and JSON."""

from __future__ import annotations

import json
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meddistill.base.errors import InputError

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\.[A-Za-z0-9]+)?")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to `path` at the end, removed on an
    error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keep the suffix last: writers choose the format by it. A thread's number is no other process's.
    writer = threading.get_native_id()
    temporary = path.with_name(f".{path.stem}.{writer}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def leftovers(directory: Path, *, below: bool = True) -> list[Path]:
    """Temporary files that a killed process left of `atomic_path` in `directory` (and `below`):
    nobody's any more."""
    found = directory.rglob(".*.tmp*") if below else directory.glob(".*.tmp*")
    return [path for path in found if _TEMPORARY.fullmatch(path.name)]


DAMAGED_ARCHIVE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading an .npz file raises that is missing, empty, cut or broken inside."""


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented, with keys in the order given. Raises ValueError for NaN and
    infinity.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises: InputError for a file that is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
