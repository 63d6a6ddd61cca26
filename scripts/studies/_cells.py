"""What the studies have in common: a cell is one training run of which a small file is kept as it
ends, so that a study goes on where it was stopped. No study of its own."""

from __future__ import annotations

import contextlib
import datetime
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import numpy as np
import torch

from meddistill.base.console import console, say
from meddistill.base.errors import InputError, MedDistillError
from meddistill.base.files import read_json
from meddistill.evaluation.statistics import compare_paired
from meddistill.settings.identity import of_distill
from meddistill.settings.layers import load_config

SMALL_STUDENT = (
    "distill.teacher=litemedsam",
    "distill.student=unetplusplus",
    "distill.encoder=tu-tf_efficientnet_lite0",
    "distill.encoder_weights=imagenet",
    "distill.precision=32-true",
    "distill.test_targets=false",
)
"""Settings that all students of the studies share: one that two cores train in minutes."""


JUDGE, REPORT = "judge", "report"
"""The part that tuning looks at, and the one that is looked at once at the end."""
_TOLD = 3
"""So many settings that differ are named."""


def of_part(folder: Path, part: str) -> Path:
    """Where cells or RUNs of a part go: those of the report in a folder of their own."""
    return folder / part if part == REPORT else folder


class Stopwatch:
    """Seconds since it was made: on the clock, and of this process on its cores."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> dict[str, int]:
        return {
            "wall": round(time.perf_counter() - self._wall),
            "cpu": round(time.process_time() - self._cpu),
        }


def circumstances() -> dict[str, Any]:
    """Where and when a figure was measured."""
    return {
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "date": datetime.date.today().isoformat(),
    }


def is_there(
    path: Path, asked: Sequence[str] | Mapping[str, Any], also: Mapping[str, Any] | None = None
) -> bool:
    """Whether a cell's file is there; where its settings are not those `asked` for, that is said.

    `asked`: KEY=VALUE each, of which the last counts, of cells that record the like; or what
    `of_distill_asked` gives, of cells that record all settings of distill. `also`: what a cell records
    beside its settings, by name.
    """
    if not path.exists():
        return False
    cell = read_json(path)
    recorded = _flat(cell.get("settings", {}))
    wanted = _flat(asked)
    keys = wanted if isinstance(asked, Mapping) else dict.fromkeys([*wanted, *recorded])
    other = [
        f"{key} {recorded.get(key, 'unsaid')}, asked for {wanted.get(key, 'unsaid')}"
        for key in keys
        if recorded.get(key) != wanted.get(key)
    ]
    other += [
        f"{name} {cell.get(name, 'unsaid')}, asked for {value}"
        for name, value in (also or {}).items()
        if cell.get(name) != value
    ]
    if other:
        more = f" and {len(other) - _TOLD} more" if len(other) > _TOLD else ""
        say(
            f"{path.name} is there, made with other settings ({'; '.join(other[:_TOLD])}{more}), and "
            "is not run again; give another --out, or delete it"
        )
    return True


def of_distill_asked(settings: Sequence[str]) -> dict[str, str]:
    """What KEY=VALUE each say of distill, by the names that its record has; without a folder to begin
    in, and of all others, which distill may decide by the data, nothing."""
    meant = _flat(of_distill(load_config(None, {}, list(settings)).distill, seed=0))
    named = [each.partition("=")[0].removeprefix("distill.") for each in settings]
    return {name: meant[name] for name in named if name in meant and name != "warm_start"}


def _flat(settings: Sequence[str] | Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Settings by their whole name, as text."""
    if not isinstance(settings, Mapping):
        settings = dict(each.split("=", 1) for each in settings)
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = str(value)
    return found


def read_cells(out: Path, pattern: str = "*.json") -> list[dict[str, Any]]:
    """All cells in `out`. Raises: InputError where there is none."""
    cells = [read_json(path) for path in sorted(out.glob(pattern))]
    if not cells:
        raise InputError(f"{out} holds no cell: no file such as {pattern}")
    return cells


def paired_difference(
    ours: Sequence[dict[str, Any]], rival: Sequence[dict[str, Any]], by: str
) -> str:
    """Mean and interval of the paired difference: a case's mean over the cells of both that are
    equal in `by`, resampled by group; empty where none are. Raises: InputError where they were
    judged on different cases."""
    of_rival = {cell[by]: cell for cell in rival}
    pairs = [(cell, of_rival[cell[by]]) for cell in ours if cell[by] in of_rival]
    if not pairs:
        return ""
    if any(cell["cases"] != other["cases"] for cell, other in pairs):
        raise InputError("cells were judged on different cases; run them again in an empty folder")
    first, second = (np.mean([pair[side]["dice"] for pair in pairs], axis=0) for side in (0, 1))
    paired = compare_paired(first.tolist(), second.tolist(), pairs[0][0]["groups"])
    interval = f" ({paired.ci95[0]:+.3f} to {paired.ci95[1]:+.3f})" if paired.ci95 else ""
    return f"{paired.mean:+.3f}{interval}"


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """An error of the package ends the script with one line."""
    try:
        yield
    except MedDistillError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
