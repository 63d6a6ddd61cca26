"""The sets of `scripts/studies/volumes.py`: which volumes of a folder train and judge, linked, or drawn
anew as other scanners would show them."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.data.formats.pictures import load_picture, write_png
from meddistill.data.formats.volume_slices import extent
from meddistill.data.pixels import resize
from meddistill.run.labels import annotated_boxes
from meddistill.run.tables import read_cases
from meddistill.run.volumes import stacks

NOMINAL_MM = 1.4
"""Pixels of pictures that do not say how large theirs are, before a field of view is drawn for them."""
SLICE_MM = 8.0


@dataclasses.dataclass(frozen=True)
class StudySet:
    """One data set: how many volumes (or patients, of pictures with groups.csv) train and judge, in
    the order of their names; `steps`: optimiser steps of every arm, `settings` beside those. `split`:
    of pictures, which values of the column `split` train and judge. `fields`: of those that train and of
    those that judge, between which shares of its field of view each patient is shown, as scanners
    differ; empty: as they are."""

    train: int
    judge: int
    steps: int
    settings: tuple[str, ...]
    split: tuple[str, str] = ("train", "val")
    fields: tuple[tuple[float, float], ...] = ()


_ACDC = ("prepare.label=3", "distill.image_size=128")
SETS = {
    "hippocampus": StudySet(12, 24, 600, ("prepare.label=1,2", "distill.image_size=64")),
    "acdc": StudySet(16, 10, 600, _ACDC),
    "acdc-mixed": StudySet(16, 10, 600, _ACDC, fields=((0.5, 1.0), (0.5, 1.0))),
    "acdc-new-scanner": StudySet(16, 10, 600, _ACDC, fields=((0.8, 1.0), (0.5, 0.7))),
}


def link_part(part: Path, source: Path, study: StudySet) -> None:
    """A folder of links to the volumes that the study takes, with a groups.csv whose column `part` says
    `train` or `judge`."""
    listed = source / "groups.csv"
    if listed.exists():
        _link_pictures(part, source, listed, study)
        return
    names = sorted(path.name for path in (source / "imagesTr").glob("*.nii*"))
    rows = []
    for number, name in enumerate(names[: study.train + study.judge]):
        for folder in ("imagesTr", "labelsTr"):
            _link(source / folder / name, part / folder / name)
        stem, count = name.partition(".nii")[0], extent(source / "imagesTr" / name, 2)[0]
        side = "train" if number < study.train else "judge"
        width = len(str(count - 1))
        rows += [(f"{stem}_z{index:0{width}}", stem, side) for index in range(count)]
    write_csv(part / "groups.csv", [("id", "group", "part"), *rows])


def _link_pictures(part: Path, source: Path, listed: Path, study: StudySet) -> None:
    with listed.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    chosen: dict[str, str] = {}
    for side, value, most in zip(
        ("train", "judge"), study.split, (study.train, study.judge), strict=True
    ):
        patients = list(dict.fromkeys(row["patient"] for row in rows if row["split"] == value))
        chosen |= dict.fromkeys(patients[:most], side)
    kept = [row for row in rows if row["patient"] in chosen]
    columns = ["id", "group", "volume", "slice", "part"]
    names = ("id", "patient", "volume", "slice")
    table = [[*(row[name] for name in names), chosen[row["patient"]]] for row in kept]
    if study.fields:
        columns.append("spacing")
        spacings = _draw(part, source, kept, chosen, study)
        for line in table:
            line.append(spacings[line[1]])
    else:
        for row in kept:
            for folder in ("images", "labels"):
                _link(source / folder / f"{row['id']}.png", part / folder / f"{row['id']}.png")
    write_csv(part / "groups.csv", [columns, *table])


def _draw(
    part: Path,
    source: Path,
    rows: Sequence[Mapping[str, str]],
    chosen: Mapping[str, str],
    study: StudySet,
) -> dict[str, str]:
    """Write each patient's pictures in a field of view drawn for it, about the finding, in as many pixels
    as before; returns their spacing.

    Args:
        part: where they are written.
        source: the pictures as they are.
        rows: of groups.csv.
        chosen: whether a patient trains or judges.
        study: between what fields are drawn.
    """
    fields = dict(zip(("train", "judge"), study.fields, strict=True))
    generator = np.random.default_rng(0)
    shares = {patient: generator.uniform(*fields[side]) for patient, side in chosen.items()}
    label = int(
        next(each for each in study.settings if each.startswith("prepare.label=")).split("=")[1]
    )
    middles = _middles(source, rows, label)
    for row in rows:
        share = shares[row["patient"]]
        for folder in ("images", "labels"):
            picture = load_picture(source / folder / f"{row['id']}.png")
            whole = (picture.shape[0], picture.shape[1])
            cut = [round(share * side) for side in whole]
            top, left = (
                int(np.clip(middle - size / 2, 0, side - size))
                for middle, size, side in zip(middles[row["patient"]], cut, whole, strict=True)
            )
            field = picture[top : top + cut[0], left : left + cut[1]]
            if folder == "images":
                field = resize(field, whole)
            else:
                places = [np.arange(new) * old // new for new, old in zip(whole, cut, strict=True)]
                field = field[places[0][:, None], places[1]]
            write_png(part / folder / f"{row['id']}.png", field)
    sides = {patient: round(NOMINAL_MM * share, 4) for patient, share in shares.items()}
    return {patient: f"{side},{side},{SLICE_MM}" for patient, side in sides.items()}


def _middles(
    source: Path, rows: Sequence[Mapping[str, str]], label: int
) -> dict[str, tuple[float, float]]:
    """Of each patient the middle of the finding over all slices, (row, column) px, as a scan is
    planned; the picture's where there is none."""
    places: dict[str, list[np.ndarray]] = {}
    for row in rows:
        mask = load_picture(source / "labels" / f"{row['id']}.png") == label
        found = np.argwhere(mask)
        middle = np.array(mask.shape)[None] / 2
        places.setdefault(row["patient"], []).append(found if len(found) else middle)
    means = {patient: np.concatenate(found).mean(axis=0) for patient, found in places.items()}
    return {patient: (float(mean[0]), float(mean[1])) for patient, mean in means.items()}


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(source.resolve())


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_largest(table: Path, data: Path) -> None:
    """Write a table of boxes: of each training volume those of the slice with the largest boxes."""
    rows: list[Sequence[object]] = [("image", "x1", "y1", "x2", "y2")]
    training = [case for case in read_cases(data) if case.split == "train"]
    for stack in stacks(training).values():
        boxes = {case.case_id: annotated_boxes(data, case) for case in stack}
        sizes = {
            case_id: float((own[:, 2:] - own[:, :2]).prod(axis=1).sum())
            for case_id, own in boxes.items()
        }
        largest = max(stack, key=lambda case: sizes[case.case_id])
        rows += [(largest.source, *(float(side) for side in box)) for box in boxes[largest.case_id]]
    write_csv(table, rows)
