"""What a look at one directory of a RUN finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DONE, OUTDATED, RUNNING, UNFINISHED, UNREADABLE, MISSING = (
    "done",
    "outdated",
    "running",
    "unfinished",
    "unreadable",
    "missing",
)
# The directories of RUN in the order they are made, and the stage that each holds.
USUAL = {
    "data": "prepare",
    "detector": "detect",
    "teacher": "teacher",
    "student": "distill",
    "eval": "eval",
}


@dataclasses.dataclass(frozen=True)
class Look:
    """One directory of RUN as it was found. `stage`: what it holds; `record`: its run.json, {}
    where there is none.

    `text`: headline numbers, or what is wrong. `moment`: local time when it was finished or begun.
    """

    directory: Path
    stage: str
    state: str
    text: str = ""
    moment: str = ""
    seconds: float | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
