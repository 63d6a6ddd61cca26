"""The student behind the page, where one has been trained: its masks are shown, audited, and
compared with what the teacher says."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from meddistill.base.errors import InputError
from meddistill.colearning.beliefs import dice
from meddistill.data.boxes import mask_to_boxes
from meddistill.run.dataset import Dataset
from meddistill.run.layout import MODEL_SAFETENSORS, RUN_JSON
from meddistill.run.tables import Case

if TYPE_CHECKING:
    from meddistill.student.student import Student

_KEPT_MASKS = 8
_LEAST_BOX_PX = 4


@dataclasses.dataclass(frozen=True)
class Review:
    """How student and teacher agree on an image. `agreement`: Dice in [0, 1] of the student's mask
    with the teacher's answer, to the boxes that people drew, or to the student's own where nobody
    has looked. `trust`: the teacher's own estimate of its answer, in [0, 1]; None where it was
    asked nothing. `agreement` is None where nobody has looked and the student finds nothing: that
    says nothing of the image. `boxes`: around the student's mask, px, half-open."""

    agreement: float | None
    trust: float | None
    boxes: tuple[tuple[float, float, float, float], ...]


class Pupil:
    """The student in one of `folders`, the first that holds a finished one; read when it is first
    asked for, and anew when it was trained anew. Several threads may ask."""

    def __init__(self, data: Dataset, folders: tuple[Path, ...]) -> None:
        self.data = data
        self.folders = folders
        self._lock = threading.RLock()
        self._key = ""
        self._student: Student
        self._masks: OrderedDict[str, np.ndarray] = OrderedDict()

    @property
    def folder(self) -> Path | None:
        """Where the student lies; None where there is none yet."""
        return next((each for each in self.folders if (each / RUN_JSON).is_file()), None)

    def key(self) -> str:
        """Tells one student from another; empty without one."""
        folder = self.folder
        if folder is None:
            return ""
        try:
            status = (folder / MODEL_SAFETENSORS).stat()
        except OSError:  # it is being trained anew
            return ""
        told = f"{folder.name} {status.st_size} {status.st_mtime_ns}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def mask(self, case: Case) -> np.ndarray:
        """Its mask bool (H, W) of the image. Raises: InputError for an image or student that cannot
        be read, or where there is none."""
        with self._lock:
            student = self._current()
            found = self._masks.get(case.case_id)
            if found is None:
                seen = self.data.seen(case, student.preprocessing.context)
                found = student.predict(seen).mask > 0
                self._masks[case.case_id] = found
                while len(self._masks) > _KEPT_MASKS:
                    self._masks.popitem(last=False)
            return found

    def _current(self) -> Student:
        from meddistill.student.student import load_student

        key = self.key()
        if not key or self.folder is None:
            raise InputError("there is no student yet: run `meddistill distill` first")
        if key != self._key:
            self._student = load_student(self.folder)
            self._masks.clear()
            self._key = key
        return self._student

    def review(
        self,
        case: Case,
        boxes_xyxy_px: np.ndarray | None,
        answer: Callable[[np.ndarray], tuple[np.ndarray, float]],
    ) -> Review:
        """How its mask agrees with the teacher's `answer` to boxes (N, 4): bool (H, W) and its own
        estimate. Raises: as `mask`, and what `answer` raises.

        Args:
            case: the image.
            boxes_xyxy_px: what people drew, (0, 4) where nothing is there; None where nobody knows.
            answer: asks the teacher about N >= 1 boxes.
        """
        mask = self.mask(case)
        own = mask_to_boxes(mask, _LEAST_BOX_PX)
        asked = own if boxes_xyxy_px is None else boxes_xyxy_px
        true, trust = np.zeros_like(mask), None
        if len(asked):
            true, trust = answer(asked)
        known = boxes_xyxy_px is not None or len(own) > 0
        agreement = dice(mask, true) if known else None
        corners = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in own)
        return Review(agreement, trust, corners)
