"""Paths as text that any table and terminal can hold."""

from __future__ import annotations

import re
from pathlib import Path

# C0, DEL, C1, and what turns the direction of writing or breaks a line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def shown(path: Path, directory: Path) -> str:
    """`path` relative to the source folder, as text that any table can hold."""
    return printable(path.relative_to(directory).as_posix())


def printable(text: str) -> str:
    """`text` in one line, with control characters (terminals obey them) and the bytes of a file name
    that are no UTF-8 escaped: fit for a table or a terminal."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return plain if plain.isprintable() else _CONTROL.sub(_escaped, plain)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
