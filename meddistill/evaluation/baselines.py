"""What the student is compared with: the detector's boxes filled in, and the teacher prompted by those boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from meddistill.artifacts import (
    BOXES_CSV,
    QUALITY_CSV,
    RUN_JSON,
    Case,
    RunDir,
    boxes_xyxy,
    read_boxes,
    read_table,
)
from meddistill.data.boxes import fill_boxes
from meddistill.evaluation.subjects import Subject
from meddistill.provenance import fingerprint_file, fingerprint_stage

STUDENT, BOXES, TEACHER = "student", "boxes", "teacher"
LABELS = {STUDENT: "student", BOXES: "detector's boxes, filled", TEACHER: "teacher, prompted by detector"}
TEACHER_THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    """The columns of quality.csv that lead to a case's target."""

    case_id: str
    split: str
    prompt_source: str
    n_boxes: int
    key: str


MaskOf = Callable[[Subject, tuple[int, int]], np.ndarray]
"""The mask, bool (H, W), that a baseline gives for a case of that size; all False where it has none."""


@dataclasses.dataclass(frozen=True)
class Baselines:
    """`masks`: by method. `skipped`: why a method cannot be had. `inputs`: fingerprints of what they read."""

    masks: dict[str, MaskOf] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)


def find_baselines(run: RunDir, cases: Sequence[Case], split: str, boxes: Path | None = None) -> Baselines:
    """The baselines that RUN has for one split; `cases` are those of all splits, `boxes` replaces the detector's table.

    Raises: InputError for a damaged table.
    """
    found = Baselines()
    if boxes is not None or (run.detector / RUN_JSON).exists():
        path = boxes or run.detector / BOXES_CSV
        found.masks[BOXES] = _filled_boxes(path, cases)
        found.inputs[BOXES] = fingerprint_file(path)
    else:
        found.skipped[BOXES] = f"{run.detector} holds no finished detector"
    if not (run.teacher / RUN_JSON).exists():
        found.skipped[TEACHER] = f"{run.teacher} holds no finished targets"
        return found
    rows = read_table(run.teacher / QUALITY_CSV, _Target)
    prompted = {row.case_id: row for row in rows if row.split == split and row.prompt_source != "annotated"}
    if prompted:
        found.masks[TEACHER] = _teacher_masks(run.teacher, prompted)
        found.inputs[TEACHER] = fingerprint_stage(run.teacher)
    else:
        found.skipped[TEACHER] = f"{run.teacher} has no target of '{split}' that detected boxes prompted"
    return found


def _filled_boxes(path: Path, cases: Sequence[Case]) -> MaskOf:
    rows = read_boxes(path, cases)
    return lambda subject, size_hw: fill_boxes(boxes_xyxy(rows.get(subject.case_id, [])), size_hw)


def _teacher_masks(teacher_dir: Path, rows: dict[str, _Target]) -> MaskOf:
    import torch

    from meddistill.data.frames import from_frame
    from meddistill.distillation.targets import load_target

    def mask_of(subject: Subject, size_hw: tuple[int, int]) -> np.ndarray:
        row = rows.get(subject.case_id)
        if row is None or row.n_boxes == 0:
            return np.zeros(size_hw, dtype=bool)
        probs = torch.from_numpy(load_target(teacher_dir, row.case_id, row.key).probs)
        mask: np.ndarray = (from_frame(probs[None, None], size_hw)[0, 0] >= TEACHER_THRESHOLD).numpy()
        return mask

    return mask_of
