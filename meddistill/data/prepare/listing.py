"""A source as `prepare` sees it: its cases with groups, classes and boxes as the user's settings
and tables say."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError, nearest
from meddistill.base.paths import printable
from meddistill.data.masks import parse_labels
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.box_table import apply_boxes, read_box_table
from meddistill.data.sources.group_table import GROUPS_CSV, apply_groups, read_groups
from meddistill.data.sources.known_sources import choose_source
from meddistill.data.sources.source import SourceOptions
from meddistill.run.tables import Rejected
from meddistill.settings.prepare import PrepareConfig

GROUPS_UNKNOWN = (
    "groups (patients) are unknown, so images of one patient may lie in train and test: "
    "the numbers may be optimistic; give --groups groups.csv or --group-from REGEX"
)


@dataclasses.dataclass(frozen=True)
class Listed:
    """The source as listed: the cases to convert, what was passed over, and the tables that were
    read for it."""

    cases: list[RawCase]
    rejected: list[Rejected]
    dataset: str
    groups_known: bool
    warnings: list[str]
    source_tables: list[Path]
    groups_file: Path | None
    boxes_file: Path | None


def list_source(directory: Path, config: PrepareConfig, seed: int) -> Listed:
    """List the source. Raises: InputError and ConfigError for what the user can mend; reads no
    pixels."""
    labels = parse_labels(config.label)
    source, reason = choose_source(config.dataset, directory, bool(config.boxes))
    if config.dataset == "auto":
        console.say(f"{directory} is read as '{source.name}': {reason}")
    options = SourceOptions(
        labels,
        tuple(config.classes),
        config.axis,
        config.channel,
        config.empty_slices,
        bool(config.boxes),
        seed,
    )
    listing = source.list_cases(directory, options)
    for note in listing.notes:
        console.say(note)
    cases, rejected, warnings = list(listing.cases), list(listing.rejected), []
    box_classes = listing.box_classes
    boxes_file = Path(config.boxes) if config.boxes else None
    if boxes_file:
        table = read_box_table(boxes_file)
        cases, strangers = apply_boxes(cases, table, options)
        if len(strangers) == len(table.objects):
            raise InputError(
                f"no image of {directory} is in {boxes_file}, which names "
                f"{', '.join(strangers[:2])}"
            )
        rejected += [
            Rejected(f"{boxes_file.name}: {name}", "boxes of an image that is not there")
            for name in strangers
        ]
        box_classes = table.classes or box_classes
    groups_file = _groups_file(directory, config)
    if groups_file:
        cases, strange = apply_groups(cases, read_groups(groups_file))
        rejected += strange
        console.say(f"groups are read from {groups_file}")
        if not cases and strange:
            raise InputError(
                f"no case of {directory} has a row in {groups_file}: {first_reasons(strange)}"
            )
    elif config.group_from:
        cases, strange = groups_from(cases, config.group_from)
        rejected += strange
        if not cases and strange:
            raise InputError(
                f"group_from '{config.group_from}' fits no case: {first_reasons(strange)}"
            )
    rejected = [Rejected(row.source, printable(row.reason)) for row in rejected]
    if config.strict and rejected:
        raise InputError(
            f"--strict: {rejected[0].source}: {rejected[0].reason} ({len(rejected)} rejected)"
        )
    cases = _of_classes(cases, config.classes, box_classes)
    if not cases:
        because = f": {first_reasons(rejected)}" if rejected else ""
        raise InputError(f"{directory} holds no image in the layout '{source.name}'{because}")
    groups_known = all(case.group for case in cases)
    if not groups_known:
        warnings.append(GROUPS_UNKNOWN)
    return Listed(
        cases,
        rejected,
        source.name,
        groups_known,
        warnings,
        list(listing.tables),
        groups_file,
        boxes_file,
    )


def groups_from(cases: Sequence[RawCase], pattern: str) -> tuple[list[RawCase], list[Rejected]]:
    """The cases with the group that a regular expression finds in their path: its first bracket,
    else all of it.

    `folder` stands for the name of the case's folder. Cases in which it finds nothing are rejected.
    Raises: ConfigError for what is no regular expression.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"group_from '{pattern}' is no regular expression: {error}") from None
    kept, rejected = [], []
    for case in cases:
        if pattern == "folder":
            group = PurePosixPath(case.source).parent.as_posix()
        else:
            match = expression.search(case.source)
            group = (match[1] if expression.groups else match[0]) if match else ""
        if group:
            kept.append(dataclasses.replace(case, group=group))
        else:
            rejected.append(
                Rejected(case.source, f"group_from '{pattern}' finds nothing in its path")
            )
    return kept, rejected


def _groups_file(directory: Path, config: PrepareConfig) -> Path | None:
    if config.groups:
        return Path(config.groups)
    beside = directory / GROUPS_CSV
    return beside if beside.is_file() and not config.group_from else None


def _of_classes(
    cases: list[RawCase], classes: Sequence[str], box_classes: Sequence[str] | None
) -> list[RawCase]:
    known = sorted(set(box_classes or ()) | {case.class_name for case in cases if case.class_name})
    for name in classes:
        if name not in known:
            raise InputError(
                f"class '{name}' is not in the source{nearest(name, known or ['(no classes)'])}"
            )
    if (
        not classes or box_classes is not None
    ):  # boxes of other classes are gone already; their images stay
        return cases
    return [case for case in cases if case.class_name in classes]


def first_reasons(rejected: Sequence[Rejected]) -> str:
    """The first two rejections and how many more there are, for one line."""
    text = "; ".join(f"{row.source}: {row.reason}" for row in rejected[:2])
    return text + (f"; and {len(rejected) - 2} more" if len(rejected) > 2 else "")
