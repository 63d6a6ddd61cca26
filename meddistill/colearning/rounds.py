"""Co-learning: after a round the student's own masks prompt the teacher, and the two settle what
each case teaches.

Annotated boxes stay what they are, people know better; there the student only lowers the weight of
targets that it does not believe. Elsewhere (a detector's box, or none) the student's mask becomes a
box, and where the teacher was trained for it (SAM 2, not LiteMedSAM) a mask prompt, too; where the
teacher's answer and the student agree, it replaces the target, also of a case that had none; where
they differ, the old target counts less.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from meddistill.base.console import say, track
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.findings import Findings, as_planes
from meddistill.data.frames import to_frame
from meddistill.run.dataset import Dataset
from meddistill.run.labels import annotated_findings
from meddistill.run.tables import Case, QualityRow
from meddistill.student.student import Student
from meddistill.targets.cache import TargetFolders
from meddistill.targets.making import TargetMaker
from meddistill.targets.packing import teaches
from meddistill.targets.prompts import ANNOTATED, NO_BOX, STUDENT, Prompt
from meddistill.targets.requests import TargetRequest
from meddistill.training.losses import soft_dice_agreement

AGREES = 0.7
LEAST_WEIGHT = 0.1
MIN_BOX_AREA_PX = 10


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the student sees in each training case, by case id: `guesses`, probabilities (C, S, S)
    uint8 in its frame, and `boxes` of each finding, (N, 4) px of the image."""

    findings: Findings
    guesses: Mapping[str, np.ndarray]
    boxes: Mapping[str, Sequence[np.ndarray]]

    def guess(self, row: QualityRow) -> np.ndarray:
        """The probabilities (S, S) of a row's finding."""
        place = self.findings.index(row.finding) if row.finding else 0
        guess: np.ndarray = self.guesses[row.case_id][place]
        return guess


def refresh_targets(
    maker: TargetMaker,
    student: Student,
    prompts: Sequence[Prompt],
    quality: Sequence[QualityRow],
    teacher_dir: Path,
) -> list[QualityRow]:
    """The next round's rows, from the last round's `quality` and the student it gave.

    Rows with `prompt_source` `student` have their target in the maker's directory, where those of
    all rounds stay by their key; the others' is in `teacher_dir`. Validation and test rows are
    passed on: all rounds are judged by the same targets.

    Args:
        maker: the teacher that is asked again, and where its answers are kept.
        student: what the last round gave.
        prompts: of the first round.
        quality: the last round's rows.
        teacher_dir: where the first round's targets lie.
    """
    scratch = maker.directory / ".guesses.bin"
    folders = TargetFolders(teacher_dir, maker.directory)
    try:
        seen = _look(student, maker.dataset, scratch)
        answers = maker.make(_ask_again(seen, maker.dataset, prompts, student))
        rows = _settle(seen, answers, quality, maker.dataset, folders)
    finally:
        scratch.unlink(missing_ok=True)
    old = {_what(row): row for row in quality}
    taken = [_what(row) for row in rows if row.prompt_source == STUDENT]
    entered = sum(not teaches(old[what]) for what in taken if what in old)
    say(f"student and teacher settled {len(taken)} target(s), {entered} of cases that had none")
    return rows


def _look(student: Student, dataset: Dataset, scratch: Path) -> Seen:
    """The student's masks and boxes of all training cases.

    The probabilities lie in the file `scratch`, mapped: in memory those of very many cases would
    not fit.
    """
    cases, side = dataset.of_split("train"), student.preprocessing.image_size
    findings = student.preprocessing.findings
    scratch.parent.mkdir(parents=True, exist_ok=True)
    shape = (max(1, len(cases)), len(findings), side, side)
    store = np.memmap(scratch, np.uint8, "w+", shape=shape)
    guesses, boxes = {}, {}
    for index, case in enumerate(track(cases, "student's masks", len(cases))):
        image = dataset.seen(case, student.preprocessing.context)
        probs = as_planes(student.predict_probs([image])[0])
        framed = to_frame(torch.from_numpy(probs)[None], side)[0]
        store[index] = (framed * 255).round().byte().numpy()
        guesses[case.case_id] = store[index]
        masks = findings.masks(probs, student.preprocessing.cuts)
        boxes[case.case_id] = [mask_to_boxes(mask, MIN_BOX_AREA_PX) for mask in masks]
    return Seen(findings, guesses, boxes)


def _ask_again(
    seen: Seen, dataset: Dataset, prompts: Sequence[Prompt], student: Student
) -> list[TargetRequest]:
    """The findings that the student found in cases of which people did not say whether they are
    there."""
    source = {(prompt.case.case_id, prompt.finding): prompt.source for prompt in prompts}
    side = student.preprocessing.image_size
    return [
        TargetRequest(case, boxes, STUDENT, side, seen.guesses[case.case_id][place], tag)
        for case in dataset.of_split("train")
        for place in range(len(seen.findings))
        if source.get((case.case_id, tag := seen.findings.tag(place))) != ANNOTATED
        and not _is_absent(dataset, case, seen.findings, place)
        and len(boxes := seen.boxes[case.case_id][place])
    ]


def _settle(
    seen: Seen,
    answers: Sequence[QualityRow],
    quality: Sequence[QualityRow],
    dataset: Dataset,
    folders: TargetFolders,
) -> list[QualityRow]:
    """The answer where the student agrees with it, else the old target with less weight."""
    new = {
        _what(row): (row, _agreement(seen.guess(row), row, folders))
        for row in answers
        if teaches(row)
    }
    old = {_what(row): row for row in quality}
    rows = [row for row in quality if row.split != "train"]
    for case in dataset.of_split("train"):
        for place in range(len(seen.findings)):
            what = case.case_id, seen.findings.tag(place)
            answer, agreement = new.get(what, (None, 0.0))
            known = old.get(what)
            if answer is not None and agreement >= AGREES:
                rows.append(dataclasses.replace(answer, weight=round(agreement, 6)))
            elif known is not None:
                rows.append(_weighed(known, seen.guess(known), folders))
    return rows


def _what(row: QualityRow) -> tuple[str, str]:
    return row.case_id, row.finding


def _is_absent(dataset: Dataset, case: Case, findings: Findings, place: int) -> bool:
    """Whether people looked for the finding in the case and saw none."""
    if findings.is_one:
        return case.annotation == "none"
    looked = case.looked_for(findings.names[place])
    return looked and not (annotated_findings(dataset.directory, case)[1] == place).any()


def _agreement(guess: np.ndarray, row: QualityRow, folders: TargetFolders) -> float:
    """Soft Dice of the student's probabilities (S, S) with a target, in their frame."""
    target = folders.load(row).probs
    probs = torch.from_numpy(guess.astype(np.float32) / 255)
    return float(soft_dice_agreement(probs[None, None], torch.from_numpy(target)[None, None]))


def _weighed(row: QualityRow, guess: np.ndarray, folders: TargetFolders) -> QualityRow:
    """The row with its weight lowered by what the student does not believe; a target without lesion
    is left alone."""
    if row.prompt_source == NO_BOX or not teaches(row):
        return row
    agreement = _agreement(guess, row, folders)
    return dataclasses.replace(row, weight=round(row.weight * max(LEAST_WEIGHT, agreement), 6))
