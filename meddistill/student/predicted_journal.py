"""What `predict` has done, a line a scan: so that the same command again goes on where it was stopped,
also with more files, and makes again what was damaged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from meddistill.base.hashing import sha256_file
from meddistill.data.scans import ScanFiles
from meddistill.student.predictions_table import PredictionRow


@dataclasses.dataclass(frozen=True)
class Done:
    """A scan that was predicted: the state of its files then (`stamp`), its rows of the table, the
    SHA-256 of each file that was written, by its path in the output, and where it lay (`path`,
    absolute; '' where an earlier version did not say)."""

    name: str
    stamp: str
    rows: list[dict[str, Any]]
    written: dict[str, str]
    path: str = ""

    def table_rows(self) -> list[PredictionRow]:
        return [PredictionRow(**row) for row in self.rows]

    def is_of(self, given: ScanFiles) -> bool:
        """Whether it is of these very files as they are now: scans of two patients may share name, size
        and time."""
        return self.stamp == stamp_of(given) and self.path in ("", path_of(given.path))

    def is_intact(self, out: Path) -> bool:
        return all(
            (out / name).is_file() and sha256_file(out / name) == sha256
            for name, sha256 in self.written.items()
        )


def stamp_of(given: ScanFiles) -> str:
    """Size and time of change of all files of a scan: thousands of volumes are not read twice just to
    see whether they are the same."""
    stamps = []
    for path in given.files:
        try:
            status = path.stat()
            stamps.append(f"{status.st_size} bytes of {status.st_mtime_ns}")
        except OSError:
            stamps.append("gone")
    return ", ".join(stamps) if len(stamps) == 1 else f"{len(stamps)} files, {hash_of(stamps)}"


def path_of(path: Path) -> str:
    """Where a scan lies, whatever it was called by."""
    return os.path.realpath(path)


def hash_of(texts: Iterable[str]) -> str:
    """24 hexadecimal digits of some lines."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:24]


class Journal:
    """The lines of one process, only ever appended; a line that was cut short counts for nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, done: Done) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            # What is written after a line that was cut short would be lost with it.
            cut = file.tell() > 0 and not _ends_a_line(self._path)
            file.write("\n" * cut + json.dumps(dataclasses.asdict(done)) + "\n")


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_journals(paths: Sequence[Path]) -> dict[str, Done]:
    """What was done by the name of the scan, the last line of each."""
    found: dict[str, Done] = {}
    for path in paths:
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                done = Done(**json.loads(line))
                done.table_rows()
            except (ValueError, TypeError):
                continue
            found[done.name] = done
    return found
