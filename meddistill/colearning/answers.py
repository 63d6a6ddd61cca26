"""What the teacher answers to a proposed box, kept on disk: nobody asks the same twice.

One decoder call a case, on an encoding that is there: no jittered copies (on 281 unboxed slices of
the brain tumour set they told less of an answer's true Dice than the teacher's predicted IoU, for
three times the time: rank correlation .46 and .77).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.base.files import DAMAGED_ARCHIVE, atomic_path
from meddistill.data.frames import scaled_hw
from meddistill.run.tables import Case
from meddistill.teachers.teacher import Encoded, Teacher

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Answer:
    """The teacher's soft mask for some boxes. `probs`: (S, S) float32 in [0, 1] in the student's
    frame, 0 in its padding, the largest over the boxes. `predicted_iou`: its own estimate, mean
    over the boxes, held to [0, 1]."""

    probs: np.ndarray
    predicted_iou: float


class Answers:
    """A teacher's answers below `directory`, a file a case and box.

    `frame_size`: side of the student's frame, px. `logit_shift`: added to the teacher's logits.
    """

    def __init__(
        self, directory: Path, teacher: Teacher, frame_size: int, logit_shift: float
    ) -> None:
        self.directory = directory
        self.teacher = teacher
        self.frame_size = frame_size
        self.logit_shift = logit_shift
        self.asked = 0
        """How many cases the teacher was asked about."""

    def to_boxes(self, case: Case, encoded: Encoded, boxes_xyxy_px: np.ndarray) -> Answer:
        """The answer to boxes (N, 4) px of the case's image, N >= 1."""
        known = self.known(case, boxes_xyxy_px)
        if known is not None:
            return known
        path = self._path(case, boxes_xyxy_px)
        answer = self.ask(encoded, boxes_xyxy_px)
        self.asked += 1
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary,
                probs=np.rint(answer.probs * 255).astype(np.uint8),
                predicted_iou=np.array(answer.predicted_iou),
            )
        # As it will be read again, so that an interrupted run ends like a whole one.
        return Answer(np.rint(answer.probs * 255).astype(np.float32) / 255, answer.predicted_iou)

    def known(self, case: Case, boxes_xyxy_px: np.ndarray) -> Answer | None:
        """The answer to boxes that were asked about before; else None."""
        return _read(self._path(case, boxes_xyxy_px))

    @torch.inference_mode()
    def ask(self, encoded: Encoded, boxes_xyxy_px: np.ndarray) -> Answer:
        """As `to_boxes`, but asked anew and not kept."""
        reply = self.teacher.decode(encoded, [boxes_xyxy_px.astype(np.float32)])[0]
        content = scaled_hw(encoded.sizes_hw[0], self.frame_size)
        logits: Tensor = self.teacher.to_image(reply.logits, content).amax(0) + self.logit_shift
        probs = torch.sigmoid(logits.float().cpu())
        padding = (0, self.frame_size - content[1], 0, self.frame_size - content[0])
        predicted = float(reply.predicted_iou.float().mean().clamp(0, 1))
        return Answer(F.pad(probs, padding).numpy(), predicted)

    def _path(self, case: Case, boxes_xyxy_px: np.ndarray) -> Path:
        content = {
            "format": _FORMAT,
            "image": case.sha256,
            "teacher": self.teacher.fingerprint,
            "boxes": [[round(float(side), 2) for side in box] for box in boxes_xyxy_px],
            "frame_size": self.frame_size,
            "logit_shift": self.logit_shift,
        }
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
        return self.directory / f"{case.case_id}.{key}.npz"


def _read(path: Path) -> Answer | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Answer(arrays["probs"].astype(np.float32) / 255, float(arrays["predicted_iou"]))
    except DAMAGED_ARCHIVE:
        return None  # not there, or damaged: it is asked again
