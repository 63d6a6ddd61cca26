"""The teacher as a rival of the student: prompted by the student's boxes, by the heads', and, where
there is no mask to judge by, by the boxes that people drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from meddistill.base.files import read_json
from meddistill.colearning.answers import Answers
from meddistill.colearning.cell_head import head_maps
from meddistill.colearning.head_files import Heads, load_heads
from meddistill.colearning.proposals import LEAST_SHARE, NO_BOX, propose
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.frames import from_frame, scaled_hw
from meddistill.evaluation.baselines import (
    TEACHER_BY_HEAD,
    TEACHER_BY_STUDENT,
    TEACHER_BY_TRUE_BOX,
    Guess,
    taught,
)
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.layout import ENCODINGS, RUN_JSON, RunDir
from meddistill.run.tables import Case
from meddistill.targets.encodings import EncodingStore
from meddistill.teachers.loading import has_weights, load_teacher
from meddistill.teachers.teacher import Encoded, Teacher
from meddistill.training.fabric import resolve_device

_MOST_BOXES = 50


def prompted_teacher(
    run: RunDir,
    student_dir: Path,
    data_dir: Path,
    *,
    device: str,
    download: bool,
    given: Teacher | None = None,
) -> PromptedTeacher | str:
    """The teacher that a student was distilled from, to be prompted; or why it cannot be had.

    Raises: as `load_teacher`.

    Args:
        run: its targets and answers lie below RUN/teacher.
        student_dir: of the student, whose run.json names teacher and frame.
        data_dir: prepared data.
        device: where the teacher computes; may be `auto`.
        download: whether weights that are not on this machine are fetched.
        given: a teacher to use instead of loading one by name.
    """
    record = student_dir / RUN_JSON
    settings = read_json(record).get("settings", {}) if record.exists() else {}
    name, checkpoint = settings.get("teacher"), settings.get("teacher_checkpoint", "")
    if not (run.teacher / RUN_JSON).exists():
        return f"no finished {run.teacher.name}/"
    if given is None:
        if not isinstance(name, str):
            return f"{record} names no teacher"
        if not download and not has_weights(name, checkpoint):
            return (
                f"the weights of {name} are not on this machine; --set eval.ask_teacher=always "
                "fetches them"
            )
        given = load_teacher(name, checkpoint=checkpoint, device=resolve_device(device))
    shift = settings.get("targets", {}).get("logit_shift")
    return PromptedTeacher(
        Dataset.open(data_dir),
        given,
        run.teacher,
        logit_shift=given.logit_shift if shift is None else float(shift),
        heads=load_heads(student_dir),
        frame_size=int(settings.get("image_size", 256)),
    )


class PromptedTeacher:
    """What a teacher answers to the boxes of others, for cases of one prepared data set.

    Its answers lie with those of co-learning below `teacher_dir`, so that nobody is asked twice; an
    encoding that is there is used, another is not kept.
    """

    def __init__(
        self,
        dataset: Dataset,
        teacher: Teacher,
        teacher_dir: Path,
        *,
        logit_shift: float,
        heads: Heads | None,
        frame_size: int,
    ) -> None:
        """`frame_size`: of the student, in which the heads' maps are cut into boxes, px."""
        self.dataset = dataset
        self.teacher = teacher
        self.teacher_dir = teacher_dir
        self.logit_shift = logit_shift
        self.findings = read_findings(dataset.directory)
        # Those of a student of other findings cannot propose here.
        fits = heads is not None and len(heads.thresholds) == len(self.findings)
        self.heads = heads if fits else None
        self.frame_size = frame_size
        self.encodings = EncodingStore(teacher_dir / ENCODINGS, teacher, budget_gb=0.0)
        self._boxes_of_heads: dict[str, list[np.ndarray]] = {}
        self._last: tuple[str, Encoded] | None = None

    def __call__(self, judged: JudgedCase, student: Guess) -> Mapping[str, Guess]:
        """The guesses about a case by method, given the student's; an empty mask where no box is.

        The true boxes are asked about only where there is no true mask.
        """
        case = self.dataset.by_id[judged.case_id]
        least_px = int(np.ceil(LEAST_SHARE * student.masks[0].size))
        asked: dict[str, Sequence[np.ndarray]] = {
            TEACHER_BY_STUDENT: [
                mask_to_boxes(mask, least_px)[:_MOST_BOXES] for mask in student.masks
            ]
        }
        if self.heads is not None:
            asked[TEACHER_BY_HEAD] = self._propose(case, self.heads)
        if judged.mask is None and judged.boxes is not None:
            asked[TEACHER_BY_TRUE_BOX] = judged.boxes
        return {method: self._answers(case, boxes) for method, boxes in asked.items()}

    def _answers(self, case: Case, boxes_xyxy_px: Sequence[np.ndarray]) -> Guess:
        """The answers to the boxes of each finding, settled as targets are."""
        return taught(
            np.stack([self._answer(case, boxes) for boxes in boxes_xyxy_px]), self.findings
        )

    def _answer(self, case: Case, boxes_xyxy_px: np.ndarray) -> np.ndarray:
        """Probabilities float32 (H, W); 0 without boxes."""
        size_hw = (case.height, case.width)
        if not len(boxes_xyxy_px):
            return np.zeros(size_hw, np.float32)
        # At the image's own size, as the targets of test cases are.
        answers = Answers(
            self.teacher_dir / "answers", self.teacher, max(size_hw), self.logit_shift
        )
        answer = answers.known(case, boxes_xyxy_px)
        if answer is None:
            answer = answers.to_boxes(case, self._encoded(case), boxes_xyxy_px)
        frame = torch.from_numpy(answer.probs)[None, None]
        probs: np.ndarray = from_frame(frame, size_hw)[0, 0].numpy()
        return probs

    def _propose(self, case: Case, heads: Heads) -> list[np.ndarray]:
        """The heads' boxes (N, 4) px of the image by finding, as they propose on unboxed ones."""
        if case.case_id not in self._boxes_of_heads:
            maps = head_maps(heads.heads, self._encoded(case), self.frame_size).mean(0).numpy()
            self._boxes_of_heads[case.case_id] = [
                self._proposed(case, probs, threshold)
                for probs, threshold in zip(maps, heads.thresholds, strict=True)
            ]
        return self._boxes_of_heads[case.case_id]

    def _proposed(self, case: Case, probs: np.ndarray, threshold: float) -> np.ndarray:
        proposal = propose(probs, threshold, LEAST_SHARE * self.frame_size**2)
        if proposal is None:
            return NO_BOX
        height, width = scaled_hw((case.height, case.width), self.frame_size)
        scale = np.array([width / case.width, height / case.height] * 2, np.float32)
        return (proposal.boxes_xyxy_px / scale).astype(np.float32)

    def _encoded(self, case: Case) -> Encoded:
        if self._last is None or self._last[0] != case.case_id:
            (_, encoded), *_ = self.encodings.of_cases([case], self.dataset)
            self._last = (case.case_id, encoded)
        return self._last[1]
