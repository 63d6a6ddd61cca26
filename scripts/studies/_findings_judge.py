"""Judging in the study of several findings: by finding and unit, of a student's masks or of those
that the teacher makes of true boxes. No study of its own."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from supervised_twin import true_planes

from meddistill.base import console
from meddistill.data.findings import Findings
from meddistill.data.frames import from_frame
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import RunDir
from meddistill.run.tables import Case
from meddistill.settings.targets import TargetsConfig
from meddistill.student.student import load_student
from meddistill.targets.cache import load_target
from meddistill.targets.making import TargetMaker
from meddistill.targets.prompts import ANNOTATED
from meddistill.targets.requests import TargetRequest
from meddistill.teachers.teacher import Teacher

NOTHING = "nothing"
_SLICE = re.compile(r"(_slice)?_z?\d+$")
"""The end of a slice's name; what is before it names the volume."""
Guesser = Callable[[Case], np.ndarray]
"""From a case to its planes, bool (C, H, W)."""


def of_student(run: RunDir, directory: Path) -> Guesser:
    """Masks of the student in `directory`."""
    student, dataset = load_student(directory), Dataset.open(run.data)
    findings = student.preprocessing.findings

    def guess(case: Case) -> np.ndarray:
        mask = student.predict(dataset.seen(case, student.preprocessing.context)).mask
        return mask[None] > 0 if findings.is_one else findings.decode(mask)

    return guess


def of_teacher(teacher: Teacher, run: RunDir, scratch: Path, config: TargetsConfig) -> Guesser:
    """Masks of the teacher that is given the boxes of judged images, as it is asked for targets;
    of each finding its own, also where two hold a pixel. The answers are kept in `scratch`."""
    findings, dataset = read_findings(run.data), Dataset.open(run.data)
    maker = TargetMaker(teacher, dataset, scratch, config)
    requests = []
    for case in dataset.of_split("test"):
        boxes, which = annotated_findings(run.data, case)
        requests += [
            TargetRequest(
                case,
                boxes[which == place],
                ANNOTATED,
                max(case.width, case.height),
                finding=findings.tag(place),
            )
            for place in range(len(findings))
        ]
    rows = {(row.case_id, row.finding): row for row in maker.make(requests)}

    def guess(case: Case) -> np.ndarray:
        probs = np.zeros((len(findings), case.height, case.width), np.float32)
        for place in range(len(findings)):
            row = rows.get((case.case_id, findings.tag(place)))
            if row is not None:
                found = torch.from_numpy(load_target(scratch, row.case_id, row.key).probs)
                size_hw = (case.height, case.width)
                probs[place] = from_frame(found[None, None], size_hw)[0, 0].numpy()
        return probs > 0.5

    return guess


def judge(run: RunDir, guess: Guesser, whole_volumes: bool) -> dict[str, Any]:
    """What guesses are worth on the test cases: by finding the mean Dice over the units that show
    it, false alarms over the others; `confusion`: of units that show a finding (rows), which one
    most of it was taken for, or nothing; and the Dice of each unit."""
    findings, dataset = read_findings(run.data), Dataset.open(run.data)
    pixels: dict[str, _Pixels] = {}
    tests = dataset.of_split("test")
    for case in console.track(tests, "judge", len(tests)):
        name = _SLICE.sub("", case.case_id) if whole_volumes else case.case_id
        found = _pixels(run, case, guess(case), findings)
        if name in pixels:
            pixels[name].add(found)
        else:
            pixels[name] = found
    told: dict[str, Any] = {"units": len(pixels), "findings": {}, "confusion": {}}
    for place, finding in enumerate(findings.names):
        scores = {name: each.dice(place) for name, each in pixels.items() if each.true[place]}
        without = [each for each in pixels.values() if not each.true[place]]
        told["findings"][finding] = {
            "dice": round(statistics.mean(scores.values()), 4) if scores else None,
            "units": len(scores),
            "not_found": sum(value == 0 for value in scores.values()),
            "false_alarms": sum(bool(each.guessed[place]) for each in without),
            "without": len(without),
            "each": {name: round(value, 4) for name, value in scores.items()},
        }
        taken = [_taken_for(each, place, findings) for each in pixels.values()]
        names = (*findings.names, NOTHING)
        told["confusion"][finding] = {name: taken.count(name) for name in names}
    empty = [each for each in pixels.values() if not each.true.any()]
    told["healthy"] = {
        "units": len(empty),
        "false_alarms": sum(bool(each.guessed.any()) for each in empty),
    }
    known = [of["dice"] for of in told["findings"].values() if of["dice"] is not None]
    told["dice_mean"] = round(statistics.mean(known), 4)
    return told


@dataclasses.dataclass
class _Pixels:
    """Pixels of one unit. `shared`: of each true finding (rows; last: none) those guessed to be each
    (columns; last: none), (C + 1, C + 1); `true`, `guessed`: of each finding, (C,)."""

    shared: np.ndarray
    true: np.ndarray
    guessed: np.ndarray

    def add(self, other: _Pixels) -> None:
        self.shared += other.shared
        self.true += other.true
        self.guessed += other.guessed

    def dice(self, place: int) -> float:
        return float(2 * self.shared[place, place] / (self.true[place] + self.guessed[place]))


def _pixels(run: RunDir, case: Case, guess: np.ndarray, findings: Findings) -> _Pixels:
    truth = true_planes(run, case, findings)
    both = [np.concatenate([each, ~each.any(0, keepdims=True)]) for each in (truth, guess)]
    rows, columns = (each.reshape(len(findings) + 1, -1).astype(np.int64) for each in both)
    return _Pixels(rows @ columns.T, truth.sum((1, 2)), guess.sum((1, 2)))


def _taken_for(pixels: _Pixels, place: int, findings: Findings) -> str:
    """What most of a true finding was taken for; empty where it is not there."""
    if not pixels.true[place]:
        return ""
    found = pixels.shared[place, : len(findings)]
    return findings.names[int(found.argmax())] if found.any() else NOTHING
