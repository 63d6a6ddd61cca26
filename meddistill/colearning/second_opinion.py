"""A teacher that is asked by the boxes of a student's own masks, about any image."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from meddistill.base.errors import InputError
from meddistill.base.files import read_json
from meddistill.colearning.answers import Answers
from meddistill.colearning.proposals import LEAST_SHARE, MOST_BOXES
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.frames import from_frame
from meddistill.run.layout import RUN_JSON
from meddistill.student.silent_student import to_calibrate
from meddistill.student.student import as_rgb
from meddistill.student.trust.asked import Opinion
from meddistill.student.trust.trust import AskedTeacher, Trust
from meddistill.teachers.loading import load_teacher
from meddistill.teachers.teacher import Teacher, encode_in_memory
from meddistill.training.fabric import resolve_device


class TeacherOpinion:
    """`asked`: images that the teacher was shown, in `seconds` altogether."""

    def __init__(self, teacher: Teacher, logit_shift: float) -> None:
        self.teacher = teacher
        self.logit_shift = logit_shift
        self.asked = 0
        self.seconds = 0.0

    def __call__(self, image: np.ndarray, masks: np.ndarray) -> Opinion | None:
        """The answers to the boxes of masks, bool (C, H, W), at the image's own size, of each the
        largest few; None without a component of at least half a thousandth of the image."""
        size_hw = (masks.shape[1], masks.shape[2])
        least_px = int(np.ceil(LEAST_SHARE * masks[0].size))
        boxes = [_largest(mask_to_boxes(mask, least_px)) for mask in masks]
        if not any(len(each) for each in boxes):
            return None
        started = time.perf_counter()
        with torch.inference_mode():
            encoded = encode_in_memory(self.teacher, [as_rgb(image)])
        answers = Answers(Path(), self.teacher, max(size_hw), self.logit_shift)
        probs, trusted = np.zeros(masks.shape, np.float32), np.full(len(masks), np.nan)
        for place, given in enumerate(boxes):
            if not len(given):
                continue
            answer = answers.ask(encoded, given)
            frame = torch.from_numpy(answer.probs)[None, None]
            probs[place] = from_frame(frame, size_hw)[0, 0].numpy()
            trusted[place] = answer.predicted_iou
        self.asked += 1
        self.seconds += time.perf_counter() - started
        return Opinion(probs, trusted)

    @property
    def cost(self) -> str:
        """For a reader."""
        each = self.seconds / self.asked if self.asked else 0.0
        return (
            f"{self.teacher.name} was asked about {self.asked} image(s) in {self.seconds:.0f} s "
            f"({each:.2f} s each)"
        )


def _largest(boxes_xyxy_px: np.ndarray) -> np.ndarray:
    """Each box costs a decoder's pass: the specks of a bad mask would take most of the time."""
    sides = boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]
    return boxes_xyxy_px[np.argsort(-sides.prod(axis=1), kind="stable")[:MOST_BOXES]]


def opinion_of_run(
    student_dir: Path, device: str, given: Teacher | None
) -> tuple[TeacherOpinion, AskedTeacher]:
    """The teacher that a student was distilled from. `given`: one instead of loading that one.

    Raises: InputError for a student whose run.json names none; as `load_teacher`.
    """
    record = student_dir / RUN_JSON
    settings = read_json(record).get("settings", {}) if record.is_file() else {}
    name, checkpoint = settings.get("teacher"), settings.get("teacher_checkpoint", "")
    if not isinstance(name, str):
        raise InputError(f"{record} names no teacher to ask; --ask-teacher needs a distilled one")
    teacher = given or load_teacher(name, checkpoint=checkpoint, device=resolve_device(device))
    shift = settings.get("targets", {}).get("logit_shift")
    shift = teacher.logit_shift if shift is None else float(shift)
    about = AskedTeacher(name, checkpoint, teacher.fingerprint, shift)
    return TeacherOpinion(teacher, shift), about


def opinion_of_trust(trust: Trust | None, student_dir: Path, device: str) -> TeacherOpinion:
    """The teacher that a student's expectations were fitted with.

    Raises: InputError where they were fitted without one, or it is another one now; as
    `load_teacher`.
    """
    about = None if trust is None else trust.teacher
    if about is None:
        raise InputError(
            f"{student_dir} was not calibrated beside its teacher: run "
            f"`{to_calibrate(student_dir, ' --ask-teacher')}` first"
        )
    teacher = load_teacher(about.name, checkpoint=about.checkpoint, device=resolve_device(device))
    if teacher.fingerprint != about.fingerprint:
        raise InputError(
            f"{about.name} is another teacher here than the one {student_dir} was calibrated beside: "
            f"give it the same weights, or run `{to_calibrate(student_dir, ' --ask-teacher')}` again"
        )
    return TeacherOpinion(teacher, about.logit_shift)
