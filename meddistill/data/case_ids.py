"""Case ids: names that are safe as file names on every system, one a case."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from meddistill.data.raw_case import RawCase


def assign_case_ids(cases: Sequence[RawCase]) -> list[str]:
    """A case id for each case, by `unique_names` of its name and source path."""
    return unique_names([case.name for case in cases], [case.source for case in cases])


def unique_names(names: Sequence[str], sources: Sequence[str]) -> list[str]:
    """A safe name for each: itself where it is plain and alone, else with what is not plain
    replaced by `_`.

    Names that then are equal, upper and lower case alike, all get a hash of their source appended:
    which of them came first does not matter.
    """
    plain = [_plain(name) for name in names]
    counts = Counter(name.lower() for name in plain)
    return [
        name
        if counts[name.lower()] == 1
        else f"{name}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        for name, source in zip(plain, sources, strict=True)
    ]


def _plain(name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:180].rstrip("._")
    return name if re.match(r"[A-Za-z0-9_]", name) else f"_{name.lstrip('.-')}"
