"""What a source holds, by content: SHA-256 of every file, remembered by size and time so that a
second look is quick.

Like git's index: a file whose size and modification time are as before is taken as unchanged, any
other is read again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import InputError
from meddistill.base.paths import shown


def chance(key: str) -> float:
    """In [0, 1), as good as drawn, the same for the same key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64


@dataclasses.dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the source as it was last hashed: a row of source_index.csv."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str


def hash_files(
    files: Iterable[Path], directory: Path, index: Path | None = None
) -> dict[Path, str]:
    """SHA-256 by file; '' for one that cannot be read. Files as `index` (source_index.csv) knows
    them are not read."""
    known: dict[str, SourceFile] = {}
    if index is not None and index.exists():
        known = {row.path: row for row in read_table(index, SourceFile)}

    def hash_one(path: Path) -> str:
        try:
            status = path.stat()
            row = known.get(shown(path, directory))
            if row and (row.bytes, row.mtime_ns) == (status.st_size, status.st_mtime_ns):
                return row.sha256
            return sha256_file(path)
        except (InputError, OSError):
            return ""

    unique = sorted(set(files))
    with ThreadPoolExecutor(4) as pool:  # hashing lets go of the interpreter lock
        return dict(zip(unique, pool.map(hash_one, unique), strict=True))


def write_index(path: Path, hashes: Mapping[Path, str], directory: Path) -> None:
    """Remember hashes with size and time of their files, for the next `hash_files`."""
    rows = []
    for file, sha256 in sorted(hashes.items()):
        if sha256:
            status = file.stat()
            rows.append(
                SourceFile(shown(file, directory), status.st_size, status.st_mtime_ns, sha256)
            )
    write_table(path, SourceFile, rows)


def fingerprint_source(hashes: Mapping[Path, str], directory: Path) -> str:
    """One SHA-256 of all relative names and contents; where the folder lies and when it was copied
    do not count."""
    lines = sorted(f"{shown(path, directory)}\0{sha256}\n" for path, sha256 in hashes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal. Raises: InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
