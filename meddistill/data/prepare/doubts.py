"""What a check of the data looks at, and what it says."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

from meddistill.data.prepare.convert import Converted
from meddistill.data.raw_case import RawCase
from meddistill.run.tables import Rejected

NAMES = 3
"""Files that a check names."""
FEW = 10
"""Fewer boxes or images than this may be alike by chance."""
MOST = 0.9
"""Share of boxes or images that cannot be alike by chance."""


@dataclasses.dataclass(frozen=True)
class Doubt:
    """Something that can hardly be meant: `name` overrules it where it `stops`."""

    name: str
    text: str
    stops: bool = False


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the checks look at: every case with what became of it, what was rejected, and whether the
    source has masks or files of boxes."""

    pairs: Sequence[tuple[RawCase, Converted]]
    rejected: Sequence[Rejected]
    annotated: bool

    @functools.cached_property
    def good(self) -> list[tuple[RawCase, Converted]]:
        return [
            (case, result)
            for case, result in self.pairs
            if not result.reason and not result.skipped
        ]

    @functools.cached_property
    def boxed(self) -> list[tuple[RawCase, Converted, np.ndarray]]:
        """Cases with boxes (N, 4), in px."""
        return [
            (case, result, np.array(result.boxes, dtype=np.float64).reshape(-1, 4))
            for case, result in self.good
            if result.boxes
        ]


def first_names(cases: Iterable[RawCase]) -> str:
    """The first few, in brackets."""
    names = [case.source for case in cases]
    return f"({', '.join(names[:NAMES])}{', ...' if len(names) > NAMES else ''})"
