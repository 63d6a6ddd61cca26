"""The data sets and arms of the study of several findings, and which cases an arm learns from. No
study of its own."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from meddistill.base.csv_tables import read_table, write_table
from meddistill.data.prepare.listing import list_source
from meddistill.data.prepare.splits import seeded_order, take_cases
from meddistill.run.layout import CASES_CSV, RunDir
from meddistill.run.tables import Case
from meddistill.settings.layers import load_config

PARTS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class StudySet:
    """One data set. `column` of its groups.csv says which part a case is in, by the values in
    `train`, `val` and `test`; without one, groups (volumes) are drawn. `most`: images of each part
    at most; of drawn ones groups. `whole_volumes`: a unit of judging is a volume, not an image."""

    findings: str
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    column: str = ""
    group: str = ""
    most: tuple[int, int, int] = (600, 150, 300)
    whole_volumes: bool = False
    settings: tuple[str, ...] = ("distill.image_size=128", "distill.epochs=20")


SETS = {
    "hippocampus": StudySet(
        "Anterior=1,Posterior=2",
        most=(16, 4, 16),
        whole_volumes=True,
        settings=(
            "distill.empty_slices=1.0",
            "distill.image_size=64",
            "distill.epochs=24",
        ),
    ),
    "acdc": StudySet(
        "right ventricle=1,myocardium=2,left ventricle=3",
        *(("train",), ("val",), ("test",)),
        column="split",
        group="patient",
        whole_volumes=True,
        most=(450, 90, 400),
    ),
    "brain": StudySet(
        "from-class", ("1", "2"), ("3",), ("4",), "fold", "series", most=(600, 150, 400)
    ),
    "busi": StudySet("from-class", ("0", "1", "2"), ("3",), ("4",), "fold", "group"),
}
STUDENT, TWIN, TEACHER, BINARY = "student", "twin", "teacher", "binary"
HALVES, BOTH, AS_BACKGROUND = "halves", "both", "background"
ARMS = (STUDENT, TWIN, TEACHER, BINARY, HALVES, BOTH, AS_BACKGROUND)
DATA_OF = {STUDENT: "all", TWIN: "all", TEACHER: "all"}
"""Which prepared data an arm learns from, where not those of its own name."""


def write_parts(table: Path, source: Path, study: StudySet, arm: str) -> None:
    """Write the CSV `id,group,part,findings` of the cases that are trained on and judged; of `halves`
    and `background` with the finding that is looked for in each, of `both` every second group of
    training and validation alone.

    The same cases for every seed, and of training those of `halves` for all that are compared.
    """
    config = load_config(
        None, {}, [f"prepare.source={source}", "prepare.accept=[mostly-rejected]"]
    ).prepare
    listed = list_source(source, config, 0).cases
    values = {"train": study.train, "val": study.val, "test": study.test}
    rows = []
    for case in listed:
        group = case.columns.get(study.group) or case.group or case.name
        parts = [name for name, named in values.items() if case.columns.get(study.column) in named]
        rows.append((case.name, group, parts[0] if parts else ""))
    kept = _drawn(rows, study) if not study.column else _thinned(rows, study)
    names = [each.partition("=")[0] for each in study.findings.split(",")]
    turns = {
        (part, group): turn
        for part in ("train", "val")
        for turn, group in enumerate(sorted({group for _, group, of in kept if of == part}))
    }
    lines = []
    for name, group, part in kept:
        turn = turns.get((part, group))
        looked_for = ""
        if turn is not None and arm in (HALVES, AS_BACKGROUND):
            looked_for = names[turn % 2]
        if turn is None or arm != BOTH or turn % 2:
            lines.append((name, group, part, looked_for))
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "group", "part", "findings"), *lines])


Row = tuple[str, str, str]
"""Id, group and part of a case."""


def _drawn(rows: Sequence[Row], study: StudySet) -> list[Row]:
    """Whole groups for each part, in a seeded order."""
    order = seeded_order({group for _, group, _ in rows}, 0, "study")
    part_of = {}
    for part, most in zip(PARTS, study.most, strict=True):
        part_of.update(dict.fromkeys(order[:most], part))
        order = order[most:]
    return [(name, group, part_of[group]) for name, group, _ in rows if group in part_of]


def _thinned(rows: Sequence[Row], study: StudySet) -> list[Row]:
    """At most so many cases of each part, whole groups in a seeded order."""
    kept: list[Row] = []
    for part, most in zip(PARTS, study.most, strict=True):
        of_part = [row for row in rows if row[2] == part]
        stays = take_cases([group for _, group, _ in of_part], most, 0, f"study's {part}")
        kept += [row for row, stay in zip(of_part, stays, strict=True) if stay]
    return kept


def forget_what_was_looked_for(run: RunDir) -> None:
    """Take what nobody looked for as absent, as a tool does that knows boxes alone."""
    cases = read_table(run.data / CASES_CSV, Case)
    write_table(
        run.data / CASES_CSV, Case, [dataclasses.replace(case, findings="") for case in cases]
    )
