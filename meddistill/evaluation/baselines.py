"""What the student is compared with: the detector's boxes filled in, and the teacher prompted by
those boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.csv_tables import read_table
from meddistill.data.boxes import fill_boxes
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.run.layout import BOXES_CSV, QUALITY_CSV, RUN_JSON, RunDir
from meddistill.run.record import fingerprint_file, fingerprint_stage
from meddistill.run.tables import Case, QualityRow, boxes_xyxy, read_boxes

STUDENT, BOXES, TEACHER, OTHER = "student", "boxes", "teacher", "other"
TEACHER_BY_STUDENT, TEACHER_BY_HEAD = "teacher_student", "teacher_head"
TEACHER_BY_TRUE_BOX = "teacher_true_box"
"""No rival: what the masks of a case without a true one are compared with."""
LABELS = {
    STUDENT: "student",
    TEACHER: "teacher, prompted by detector",
    BOXES: "detector's boxes, filled",
    TEACHER_BY_STUDENT: "teacher, prompted by the student's box",
    TEACHER_BY_HEAD: "teacher, prompted by the head's box",
    OTHER: "another tool",
}
TEACHER_THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True)
class Guess:
    """What a method says of a case: mask bool (H, W), and the probabilities float (H, W) it came
    from, if any."""

    mask: np.ndarray
    probs: np.ndarray | None = None


GuessOf = Callable[[JudgedCase, tuple[int, int]], Guess]
"""What a baseline says of a case of that size (H, W); an empty mask where it has nothing to say."""

Asked = Callable[[JudgedCase, Guess], Mapping[str, Guess]]
"""What a teacher says of a case by method, given the student's guess."""


@dataclasses.dataclass(frozen=True)
class Baselines:
    """`guesses`: by method. `asked`: gives the methods that need the student's guess. `skipped`: why
    a method cannot be had. `inputs`: fingerprints of what they read. `labels`: what a reader calls
    a method."""

    guesses: dict[str, GuessOf] = dataclasses.field(default_factory=dict)
    asked: Asked | None = None
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    labels: dict[str, str] = dataclasses.field(default_factory=lambda: dict(LABELS))


def find_baselines(
    run: RunDir, cases: Sequence[Case], split: str, boxes: Path | None = None
) -> Baselines:
    """The baselines that RUN has for one split.

    Raises: InputError for a damaged table.

    Args:
        run: the RUN.
        cases: those of all splits.
        split: the one that is judged.
        boxes: a table in place of the detector's.
    """
    found = Baselines()
    _find_teacher(found, run, split)
    if boxes is not None or (run.detector / RUN_JSON).exists():
        path = boxes or run.detector / BOXES_CSV
        found.guesses[BOXES] = _filled_boxes(path, cases)
        found.inputs[BOXES] = fingerprint_file(path)
    else:
        found.skipped[BOXES] = f"no finished {run.detector.name}/"
    return found


def _find_teacher(found: Baselines, run: RunDir, split: str) -> None:
    if not (run.teacher / RUN_JSON).exists():
        found.skipped[TEACHER] = f"no finished {run.teacher.name}/"
        return
    rows = read_table(run.teacher / QUALITY_CSV, QualityRow)
    prompted = {
        row.case_id: row for row in rows if row.split == split and row.prompt_source != "annotated"
    }
    if not prompted:
        found.skipped[TEACHER] = (
            f"{run.teacher.name}/ has no target of '{split}' that detected boxes prompted"
        )
        return
    found.guesses[TEACHER] = _teacher_targets(run.teacher, prompted)
    found.inputs[TEACHER] = fingerprint_stage(run.teacher)


def _filled_boxes(path: Path, cases: Sequence[Case]) -> GuessOf:
    rows = read_boxes(path, cases)
    return lambda case, size_hw: Guess(fill_boxes(boxes_xyxy(rows.get(case.case_id, [])), size_hw))


def _teacher_targets(teacher_dir: Path, rows: dict[str, QualityRow]) -> GuessOf:
    import torch

    from meddistill.data.frames import from_frame
    from meddistill.targets.cache import load_target

    def guess(case: JudgedCase, size_hw: tuple[int, int]) -> Guess:
        row = rows.get(case.case_id)
        if row is None or row.n_boxes == 0:
            return Guess(np.zeros(size_hw, dtype=bool), np.zeros(size_hw, dtype=np.float32))
        frame = torch.from_numpy(load_target(teacher_dir, row.case_id, row.key).probs)
        probs: np.ndarray = from_frame(frame[None, None], size_hw)[0, 0].numpy()
        return Guess(probs >= TEACHER_THRESHOLD, probs)

    return guess
