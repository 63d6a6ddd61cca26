"""Co-learning: after a round the student's own masks prompt the teacher, and the two settle what each case teaches.

Annotated boxes stay what they are, people know better; there the student only lowers the weight of targets that it
does not believe. Elsewhere (a detector's box, or none) the student's mask becomes a box; where the teacher's answer and
the student agree, it replaces the target, also of a case that had none; where they differ, the old target counts less.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from meddistill.artifacts import Case, QualityRow, image_path
from meddistill.config import DistillConfig
from meddistill.console import say, track
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.frames import to_frame
from meddistill.data.images import read_rgb
from meddistill.distillation.losses import soft_dice_agreement
from meddistill.distillation.packing import teaches
from meddistill.distillation.prompts import ANNOTATED, NO_BOX, STUDENT, Prompt
from meddistill.distillation.targets import TargetRequest, load_target, make_targets
from meddistill.models.student import Student
from meddistill.models.teachers.base import Teacher

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

    Rows with `prompt_source` `student` have their target in `rounds_dir`, where those of all rounds stay by their key;
    the others' is in `teacher_dir`. Validation and test rows are passed on: all rounds are judged by the same targets.
    """
    probs = _predict(student, [case for case in cases if case.split == "train"], data_dir)
    source = {prompt.case.case_id: prompt.source for prompt in prompts}
    looked_at = {case.case_id for case in cases if case.annotation == "none"}
    requests = []
    for case in cases:
        if case.case_id not in probs or source.get(case.case_id) == ANNOTATED or case.case_id in looked_at:
            continue
        boxes = mask_to_boxes(probs[case.case_id] >= student.preprocessing.threshold, MIN_BOX_AREA_PX)
        if len(boxes):
            requests.append(TargetRequest(case, boxes, STUDENT, config.image_size))
    answers = make_targets(
        teacher, requests, data_dir, rounds_dir, config.targets, seed=config.targets.seed, batch_size=batch_size,
    )  # fmt: skip
    new = {row.case_id: (row, _agreement(probs[row.case_id], rounds_dir, row)) for row in answers if teaches(row)}
    old = {row.case_id: row for row in quality}
    rows = [row for row in quality if row.split != "train"]
    for case in cases:
        if case.case_id not in probs:
            continue
        answer, agreement = new.get(case.case_id, (None, 0.0))
        known = old.get(case.case_id)
        if answer is not None and agreement >= AGREES:
            rows.append(dataclasses.replace(answer, weight=round(agreement, 6)))
        elif known is not None:
            folder = rounds_dir if known.prompt_source == STUDENT else teacher_dir
            rows.append(_weighed(known, probs[case.case_id], folder))
    taken = [row.case_id for row in rows if row.prompt_source == STUDENT]
    entered = sum(not teaches(old[case_id]) for case_id in taken if case_id in old)
    say(f"student and teacher settled {len(taken)} target(s), {entered} of cases that had none")
    return rows


def _predict(student: Student, cases: Sequence[Case], data_dir: Path) -> dict[str, np.ndarray]:
    found = {}
    for case in track(cases, "student's masks", len(cases)):
        found[case.case_id] = student.predict_probs([read_rgb(image_path(data_dir, case))])[0]
    return found


def _agreement(probs: np.ndarray, folder: Path, row: QualityRow) -> float:
    """Soft Dice of the student's probabilities (H, W) with a target, in the target's frame."""
    target = load_target(folder, row.case_id, row.key).probs
    framed = to_frame(torch.from_numpy(probs)[None, None], target.shape[-1])
    return float(soft_dice_agreement(framed, torch.from_numpy(target)[None, None]))


def _weighed(row: QualityRow, probs: np.ndarray, folder: Path) -> QualityRow:
    """The row with its weight lowered by what the student does not believe; a target without lesion is left alone."""
    if row.prompt_source == NO_BOX or not teaches(row):
        return row
    agreement = _agreement(probs, folder, row)
    return dataclasses.replace(row, weight=round(row.weight * max(LEAST_WEIGHT, agreement), 6))
