"""Which cases belong together (a patient, a series), as a table, their paths or the layout say."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError
from meddistill.data.prepare.counts import first_reasons
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.group_table import apply_groups, read_groups
from meddistill.run.layout import GROUPS_CSV
from meddistill.run.tables import Rejected
from meddistill.settings.prepare import PrepareConfig

GROUPS_UNKNOWN = (
    "groups (patients) are unknown, so images of one patient may lie in train and test: "
    "the numbers may be optimistic; give --groups groups.csv or --group-from REGEX"
)


def with_groups(
    cases: Sequence[RawCase], groups_file: Path | None, pattern: str, directory: Path
) -> tuple[list[RawCase], list[Rejected]]:
    """The cases with groups from the table, else from their paths, else as the layout knows them;
    and those that thereby are left without one. Raises: InputError where all are."""
    if groups_file:
        kept, rejected = apply_groups(cases, read_groups(groups_file))
        console.say(f"groups are read from {groups_file}")
        problem = f"no case of {directory} has a row in {groups_file}"
    elif pattern:
        kept, rejected = groups_from(cases, pattern)
        problem = f"group_from '{pattern}' fits no case"
    else:
        return list(cases), []
    if not kept and rejected:
        raise InputError(f"{problem}: {first_reasons(rejected)}")
    return kept, rejected


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


def groups_file_of(directory: Path, config: PrepareConfig) -> Path | None:
    """The table of groups: the one that is given, else the one that lies in the source, unless paths are
    to say them; None for none."""
    if config.groups:
        return Path(config.groups)
    beside = directory / GROUPS_CSV
    return beside if beside.is_file() and not config.group_from else None
