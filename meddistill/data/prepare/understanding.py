"""What was understood of a source, in a table that a person checks at a glance."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from meddistill.base.paths import printable, shown
from meddistill.data.annotations import is_nothing_there
from meddistill.data.findings import LESION, Findings
from meddistill.data.formats.volume_slices import is_resampled
from meddistill.data.prepare.box_names import told_of_classes
from meddistill.data.prepare.case_classes import told_of_other_classes
from meddistill.data.prepare.own_splits import describe_splits, own_splits
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.source import Listing, Understood
from meddistill.run.tables import Rejected
from meddistill.settings.prepare import PrepareConfig

Fact = tuple[str, str]
_NAMES = 3
_REASONS = 4
_CLASSES = 8


@dataclasses.dataclass(frozen=True)
class Read:
    """A source as it was read: by which layout and why; its cases; what was rejected; all files that
    lie in it; the files of groups and boxes; what it is prepared for."""

    layout: str
    why: str
    listing: Listing
    cases: Sequence[RawCase]
    rejected: Sequence[Rejected]
    files: Sequence[Path]
    tables: Sequence[Path]
    findings: Findings = LESION


def understand(read: Read, directory: Path, config: PrepareConfig) -> list[Fact]:
    """Label and text a line, in the order in which a person asks."""
    told: Understood = read.listing.understood
    facts = [
        ("layout", f"{read.layout}: {read.why}"),
        ("images", _images(read, told)),
        *_annotations(read, told),
    ]
    if told.rule:
        facts.append(("pairing", told.rule + (f": {told.example}" if told.example else "")))
    facts.append(("mask values", printable(told.values)))
    facts += [("or else", reading) for reading in told.readings]
    facts.append(("volumes", _volumes(read.cases)))
    named = told_of_classes(read.cases, read.findings, _CLASSES)
    facts.append(("findings", printable(named)) if named else ("classes", _classes(read)))
    facts.append(("findings", printable(told_of_other_classes(read.cases))))
    bare = [not case.masks and case.boxes_xyxy_px is None for case in read.cases]
    facts.append(("splits", describe_splits(own_splits(read.cases, config), bare)))
    facts.append(("groups", _groups(read.cases)))
    facts += [("rejected", text) for text in _by_reason(read.rejected)]
    facts += [("not used", text) for text in _by_reason([*told.unused, *_others(read, directory)])]
    return [(label, text) for label, text in facts if text]


def _volumes(cases: Sequence[RawCase]) -> str:
    slices = [case for case in cases if case.volume]
    names = {case.volume for case in slices}
    if not names:
        return ""
    moved = {case.volume for case in slices if any(is_resampled(mask) for mask in case.masks)}
    told = f"; masks of {len(moved)} are brought onto their voxels" if moved else ""
    return f"{len(names)} of {len(slices)} slices, all of which are kept{told}"


def _images(read: Read, told: Understood) -> str:
    files = {path for case in read.cases for path in case.image.files}
    slices = f" in {len(files)} files" if len(files) != len(read.cases) else ""
    pattern = f": {told.images}" if told.images else ""
    return f"{len(read.cases)}{slices}{pattern}"


def _annotations(read: Read, told: Understood) -> list[Fact]:
    """Masks and boxes, each where there are any; where there is neither, that."""
    total = len(read.cases)
    masked = sum(bool(case.masks) for case in read.cases)
    given = [case.boxes_xyxy_px for case in read.cases if case.boxes_xyxy_px is not None]
    facts = []
    if masked:
        use = ", for evaluation alone" if given else ""
        pattern = f": {told.masks}" if told.masks else ""
        facts.append(("masks", f"for {masked} of {total} images{use}{pattern}"))
    if given:
        boxed = sum(bool(boxes) for boxes in given)
        facts.append(
            (
                "boxes",
                f"{sum(map(len, given))} on {boxed} of {total} images; {len(given) - boxed} looked "
                "at, nothing there",
            )
        )
    if not facts:
        facts.append(("masks, boxes", NOTHING_ANNOTATED))
    elif unknown := sum(_is_unknown(case) for case in read.cases):
        facts.append(("unknown", f"{unknown} images that nobody looked at"))
    return facts


NOTHING_ANNOTATED = (
    "none: images alone are fine to begin with; draw boxes on some with `meddistill label RUN`, or give "
    "them with --boxes"
)


def _is_unknown(case: RawCase) -> bool:
    return case.boxes_xyxy_px is None and (not case.masks or case.unannotated)


def _classes(read: Read) -> str:
    """How many cases there are of each class, and what that means for the findings."""
    counts = Counter(case.class_name for case in read.cases if case.class_name)
    text = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())[:_CLASSES])
    text += ", ..." if len(counts) > _CLASSES else ""
    if read.findings.is_one and sum(not is_nothing_there(name) for name in counts) > 1:
        name = read.findings.names[0]
        text += f": what they show is one finding, '{name}'; --findings from-class tells them apart"
    return printable(text)


def _groups(cases: Sequence[RawCase]) -> str:
    groups = Counter(case.group for case in cases if case.group)
    lacking = sum(not case.group for case in cases)
    if not groups:
        return "unknown, each image its own: --groups TABLE, --group-from folder or a pattern tell them"
    shown_groups = ", ".join(printable(name) for name in sorted(groups)[:_NAMES])
    text = f"{len(groups)} ({shown_groups}{', ...' if len(groups) > _NAMES else ''})"
    return text + (f"; {lacking} images without one" if lacking else "")


def _by_reason(rows: Iterable[Rejected]) -> list[str]:
    """How many files share a reason, with the first of them; the most frequent reasons."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        by_reason.setdefault(row.reason, []).append(row.source)
    texts = [
        f"{len(names)}: {reason} ({', '.join(names[:_NAMES])}{', ...' if len(names) > _NAMES else ''})"
        for reason, names in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    left = len(texts) - _REASONS
    return texts[:_REASONS] + ([f"and {left} other reasons"] if left > 0 else [])


def _others(read: Read, directory: Path) -> list[Rejected]:
    """Files that no case and no table is made of, and of which nothing was said yet."""
    used = {os.fspath(path) for case in read.cases for path in case.files}
    used |= {os.fspath(path) for path in (*read.listing.tables, *read.tables)}
    said = {row.source for row in (*read.rejected, *read.listing.understood.unused)}
    said |= {source.partition("#")[0] for source in said}
    left = [path for path in read.files if os.fspath(path) not in used]
    others = ((shown(path, directory), path.suffix.lower()) for path in left)
    return [
        Rejected(
            name, f"{ending} file that tells nothing here" if ending else "file without ending"
        )
        for name, ending in others
        if name not in said
    ]
