"""Paths as text that any table and terminal can hold."""

from __future__ import annotations

from pathlib import Path


def shown(path: Path, directory: Path) -> str:
    """`path` relative to the source folder, as text that any table can hold."""
    return printable(path.relative_to(directory).as_posix())


def printable(text: str) -> str:
    """`text` in one line, with the bytes of a file name that are no UTF-8 escaped: fit for a table
    or a terminal."""
    return (
        text.encode("utf-8", "backslashreplace")
        .decode("utf-8")
        .replace("\n", "\\n")
        .replace("\r", "\\r")
    )
