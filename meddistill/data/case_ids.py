"""Case ids: names that are safe as file names on every system, one a case; and names of what is made of a
file, which stay as near to its own as file systems allow."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from meddistill.data.raw_case import RawCase

_RESERVED = re.compile("(con|prn|aux|nul|(com|lpt)[0-9])", re.IGNORECASE)
"""Names of devices, which Windows gives no file."""


def assign_case_ids(cases: Sequence[RawCase]) -> list[str]:
    """A case id for each case, by `unique_names` of its name and source path."""
    return unique_names([case.name for case in cases], [case.source for case in cases])


def unique_names(names: Sequence[str], sources: Sequence[str]) -> list[str]:
    """A safe name for each: itself where it is plain and alone, else with what is not plain
    replaced by `_`.

    Names that then are equal, upper and lower case alike, all get a hash of their source appended:
    which of them came first does not matter.
    """
    return _told_apart([_plain(name) for name in names], sources)


def file_names(names: Sequence[str], sources: Sequence[str]) -> list[str]:
    """As `unique_names`, but letters of all scripts, blanks and brackets stay: the mask of `benign
    (10).png` is called as its image."""
    return _told_apart([_allowed(name) for name in names], sources)


def _told_apart(names: Sequence[str], sources: Sequence[str]) -> list[str]:
    counts = Counter(map(_as_compared, names))
    return [
        name
        if counts[_as_compared(name)] == 1
        else f"{name}-{hashlib.sha256(source.encode(errors='surrogateescape')).hexdigest()[:8]}"
        for name, source in zip(names, sources, strict=True)
    ]


def _as_compared(name: str) -> str:
    """As file systems compare that tell neither case nor ways to write an accent apart."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_kept(character: str) -> bool:
    return character in " ._-()[]+,=" or unicodedata.category(character)[0] in "LMN"


def _allowed(name: str) -> str:
    # What some system or shell forbids goes, and `@`, which counts slices.
    name = re.sub("\0+", "_", "".join(each if _is_kept(each) else "\0" for each in name))
    name = name.encode()[:180].decode(errors="ignore").rstrip(". ")
    name = name if name and not name.startswith((".", "-", " ")) else f"_{name.lstrip('.- ')}"
    return f"_{name}" if _RESERVED.fullmatch(name.partition(".")[0]) else name


def _plain(name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:180].rstrip("._")
    return name if re.match(r"[A-Za-z0-9_]", name) else f"_{name.lstrip('.-')}"
