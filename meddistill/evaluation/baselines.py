"""What the student is compared with: the detector's boxes filled in, and the teacher prompted by
those boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError
from meddistill.base.files import read_json
from meddistill.data.boxes import fill_boxes
from meddistill.data.findings import LESION, Findings
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.run.fingerprints import fingerprint_file, fingerprint_stage
from meddistill.run.layout import BOXES_CSV, QUALITY_CSV, RUN_JSON, RunDir
from meddistill.run.tables import BoxRow, Case, QualityRow, boxes_xyxy, read_boxes

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
    """What a method says of a case: masks bool (C, H, W), one a finding, and the probabilities
    float (C, H, W) they came from, if any."""

    masks: np.ndarray
    probs: np.ndarray | None = None


GuessOf = Callable[[JudgedCase, tuple[int, int]], Guess]
"""What a baseline says of a case of that size (H, W); empty masks where it has nothing to say."""

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
    run: RunDir,
    cases: Sequence[Case],
    split: str,
    boxes: Path | None = None,
    findings: Findings = LESION,
) -> Baselines:
    """The baselines that RUN has for one split.

    Raises: InputError for a damaged table, or boxes of a class that is none of several findings.

    Args:
        run: the RUN.
        cases: those of all splits.
        split: the one that is judged.
        boxes: a table in place of the detector's.
        findings: of the data.
    """
    found = Baselines()
    _find_teacher(found, run, split, findings)
    if boxes is not None or (run.detector / RUN_JSON).exists():
        path = boxes or run.detector / BOXES_CSV
        found.guesses[BOXES] = _filled_boxes(path, cases, findings)
        found.inputs[BOXES] = fingerprint_file(path)
    else:
        found.skipped[BOXES] = f"no finished {run.detector.name}/"
    return found


def wants_no_detector(run: RunDir, student_dir: Path, boxes: Path | None = None) -> bool:
    """Whether a student was trained without a detector's boxes, and none are there: nothing is missing
    where no baseline goes by them."""
    record = student_dir / RUN_JSON
    if boxes is not None or (run.detector / RUN_JSON).exists() or not record.is_file():
        return False
    settings = read_json(record).get("settings", {}).get("colearning", {})
    return settings.get("unboxed") in ("propose", "ignore", "carry")


def _find_teacher(found: Baselines, run: RunDir, split: str, findings: Findings) -> None:
    if not (run.teacher / RUN_JSON).exists():
        found.skipped[TEACHER] = f"no finished {run.teacher.name}/"
        return
    rows = read_table(run.teacher / QUALITY_CSV, QualityRow)
    prompted = {
        (row.case_id, row.finding): row
        for row in rows
        if row.split == split and row.prompt_source != "annotated"
    }
    if not prompted:
        found.skipped[TEACHER] = (
            f"{run.teacher.name}/ has no target of '{split}' that detected boxes prompted"
        )
        return
    found.guesses[TEACHER] = _teacher_targets(run.teacher, prompted, findings)
    found.inputs[TEACHER] = fingerprint_stage(run.teacher)


def _filled_boxes(path: Path, cases: Sequence[Case], findings: Findings) -> GuessOf:
    rows = read_boxes(path, cases)
    strangers = {row.class_name for own in rows.values() for row in own} - set(findings.names)
    if strangers and not findings.is_one:
        raise InputError(
            f"{path} has boxes of '{min(strangers)}', which is none of the findings "
            f"{', '.join(findings.names)}; name them as the RUN does"
        )

    def guess(case: JudgedCase, size_hw: tuple[int, int]) -> Guess:
        own = rows.get(case.case_id, [])
        return Guess(
            np.stack([fill_boxes(boxes_xyxy(part), size_hw) for part in _by_finding(own, findings)])
        )

    return guess


def _by_finding(rows: Sequence[BoxRow], findings: Findings) -> list[list[BoxRow]]:
    if findings.is_one:  # whatever a detector calls it
        return [list(rows)]
    return [[row for row in rows if row.class_name == name] for name in findings.names]


def _teacher_targets(
    teacher_dir: Path, rows: Mapping[tuple[str, str], QualityRow], findings: Findings
) -> GuessOf:
    import torch

    from meddistill.data.frames import from_frame
    from meddistill.targets.cache import load_target

    def probs_of(row: QualityRow | None, size_hw: tuple[int, int]) -> np.ndarray:
        if row is None or row.n_boxes == 0:
            return np.zeros(size_hw, dtype=np.float32)
        frame = torch.from_numpy(load_target(teacher_dir, row.case_id, row.key).probs)
        probs: np.ndarray = from_frame(frame[None, None], size_hw)[0, 0].numpy()
        return probs

    def guess(case: JudgedCase, size_hw: tuple[int, int]) -> Guess:
        own = (rows.get((case.case_id, findings.tag(place))) for place in range(len(findings)))
        return taught(np.stack([probs_of(row, size_hw) for row in own]), findings)

    return guess


def taught(probs: np.ndarray, findings: Findings) -> Guess:
    """A teacher's guess, of its probabilities float32 (C, H, W): of findings that exclude each
    other the most probable at each pixel, as the student learnt it."""
    return Guess(findings.masks(probs, [TEACHER_THRESHOLD] * len(findings)), probs)
