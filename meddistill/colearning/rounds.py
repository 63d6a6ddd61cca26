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
from meddistill.data.formats.pictures import read_rgb
from meddistill.data.frames import to_frame
from meddistill.run.images import image_path
from meddistill.run.tables import Case, QualityRow
from meddistill.settings.distill import DistillConfig
from meddistill.student.student import Student
from meddistill.targets.making import TargetRequest, load_target, make_targets
from meddistill.targets.packing import teaches
from meddistill.targets.prompts import ANNOTATED, NO_BOX, STUDENT, Prompt
from meddistill.teachers.teacher import Teacher
from meddistill.training.losses import soft_dice_agreement

AGREES = 0.7
LEAST_WEIGHT = 0.1
MIN_BOX_AREA_PX = 10


def refresh_targets(
    teacher: Teacher,
    student: Student,
    cases: Sequence[Case],
    prompts: Sequence[Prompt],
    quality: Sequence[QualityRow],
    data_dir: Path,
    teacher_dir: Path,
    rounds_dir: Path,
    config: DistillConfig,
    *,
    batch_size: int,
) -> list[QualityRow]:
    """The next round's rows, from the last round's `quality` and the student it gave.

    Rows with `prompt_source` `student` have their target in `rounds_dir`, where those of all rounds
    stay by their key; the others' is in `teacher_dir`. Validation and test rows are passed on: all
    rounds are judged by the same targets.
    """
    scratch = rounds_dir / ".guesses.bin"
    try:
        guesses, found = _predict(
            student, [case for case in cases if case.split == "train"], data_dir, scratch
        )
        return _settle(
            teacher,
            guesses,
            found,
            cases,
            prompts,
            quality,
            data_dir,
            teacher_dir,
            rounds_dir,
            config,
            batch_size,
        )
    finally:
        scratch.unlink(missing_ok=True)


def _settle(
    teacher: Teacher,
    guesses: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    cases: Sequence[Case],
    prompts: Sequence[Prompt],
    quality: Sequence[QualityRow],
    data_dir: Path,
    teacher_dir: Path,
    rounds_dir: Path,
    config: DistillConfig,
    batch_size: int,
) -> list[QualityRow]:
    """`guesses`: the student's probabilities by case, (S, S) uint8 in its frame; `found`: its boxes
    (N, 4) px."""
    source = {prompt.case.case_id: prompt.source for prompt in prompts}
    looked_at = {case.case_id for case in cases if case.annotation == "none"}
    requests = []
    for case in cases:
        if (
            case.case_id not in guesses
            or source.get(case.case_id) == ANNOTATED
            or case.case_id in looked_at
        ):
            continue
        if len(found[case.case_id]):
            request = TargetRequest(
                case, found[case.case_id], STUDENT, config.image_size, guesses[case.case_id]
            )
            requests.append(request)
    answers = make_targets(
        teacher,
        requests,
        data_dir,
        rounds_dir,
        config.targets,
        seed=config.targets.seed,
        batch_size=batch_size,
    )
    new = {
        row.case_id: (row, _agreement(guesses[row.case_id], rounds_dir, row))
        for row in answers
        if teaches(row)
    }
    old = {row.case_id: row for row in quality}
    rows = [row for row in quality if row.split != "train"]
    for case in cases:
        if case.case_id not in guesses:
            continue
        answer, agreement = new.get(case.case_id, (None, 0.0))
        known = old.get(case.case_id)
        if answer is not None and agreement >= AGREES:
            rows.append(dataclasses.replace(answer, weight=round(agreement, 6)))
        elif known is not None:
            folder = rounds_dir if known.prompt_source == STUDENT else teacher_dir
            rows.append(_weighed(known, guesses[case.case_id], folder))
    taken = [row.case_id for row in rows if row.prompt_source == STUDENT]
    entered = sum(not teaches(old[case_id]) for case_id in taken if case_id in old)
    say(f"student and teacher settled {len(taken)} target(s), {entered} of cases that had none")
    return rows


def _predict(
    student: Student, cases: Sequence[Case], data_dir: Path, scratch: Path
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the student sees in each case: probabilities (S, S) uint8 in its frame, and its boxes
    (N, 4) px.

    The probabilities lie in the file `scratch`, mapped: in memory those of very many cases would
    not fit.
    """
    side = student.preprocessing.image_size
    scratch.parent.mkdir(parents=True, exist_ok=True)
    store = np.memmap(scratch, np.uint8, "w+", shape=(max(1, len(cases)), side, side))
    guesses, boxes = {}, {}
    for index, case in enumerate(track(cases, "student's masks", len(cases))):
        probs = student.predict_probs([read_rgb(image_path(data_dir, case))])[0]
        framed = to_frame(torch.from_numpy(probs)[None, None], side)[0, 0]
        store[index] = (framed * 255).round().byte().numpy()
        guesses[case.case_id] = store[index]
        boxes[case.case_id] = mask_to_boxes(
            probs >= student.preprocessing.threshold, MIN_BOX_AREA_PX
        )
    return guesses, boxes


def _agreement(guess: np.ndarray, folder: Path, row: QualityRow) -> float:
    """Soft Dice of the student's probabilities (S, S) with a target, in their frame."""
    target = load_target(folder, row.case_id, row.key).probs
    probs = torch.from_numpy(guess.astype(np.float32) / 255)
    return float(soft_dice_agreement(probs[None, None], torch.from_numpy(target)[None, None]))


def _weighed(row: QualityRow, guess: np.ndarray, folder: Path) -> QualityRow:
    """The row with its weight lowered by what the student does not believe; a target without lesion
    is left alone."""
    if row.prompt_source == NO_BOX or not teaches(row):
        return row
    agreement = _agreement(guess, folder, row)
    return dataclasses.replace(row, weight=round(row.weight * max(LEAST_WEIGHT, agreement), 6))
