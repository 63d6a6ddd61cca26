"""Which of the listed cases become images, which are rejected, and what can hardly be meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.data.prepare.convert import Converted
from meddistill.data.prepare.counts import first_reasons
from meddistill.data.prepare.doubts import Seen
from meddistill.data.prepare.finding_counts import boxes_left_out
from meddistill.data.prepare.listing import Listed
from meddistill.data.prepare.nonsense import doubts_about
from meddistill.data.raw_case import RawCase
from meddistill.run.tables import Rejected


@dataclasses.dataclass(frozen=True)
class SortedOut:
    """The cases that became images; what was rejected, by listing or reading; how many cases became
    none without being rejected; and what can hardly be meant."""

    good: list[tuple[RawCase, Converted]]
    rejected: list[Rejected]
    skipped: int
    doubts: list[str]


def sort_out(
    listed: Listed, converted: Sequence[Converted], directory: Path, accept: Sequence[str]
) -> SortedOut:
    """The cases as they were converted, sorted. Raises: InputError where no case is left, or what there
    is can hardly be meant.

    Args:
        listed: the source.
        converted: what each of its cases became, in their order.
        directory: the source folder.
        accept: names of checks that are overruled.
    """
    pairs = list(zip(listed.cases, converted, strict=True))
    doubts = doubts_about(Seen(pairs, listed.rejected, listed.annotated), accept)
    doubts += boxes_left_out(pairs, listed.findings)
    rejected = list(listed.rejected)
    good: list[tuple[RawCase, Converted]] = []
    for case, result in pairs:
        if result.reason:
            rejected.append(Rejected(case.source, result.reason))
        elif not result.skipped:
            good.append((case, result))
    if not good:
        raise InputError(
            f"no case is left of {len(converted)} in {directory}: {first_reasons(rejected)}"
        )
    skipped = sum(not result.reason and result.skipped for result in converted)
    rejected.sort(key=lambda row: (row.source, row.reason))
    return SortedOut(good, rejected, skipped, doubts)
