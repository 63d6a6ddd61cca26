"""Where student and teacher disagree: found in the background, shown as a sheet of small pictures,
the worst first."""

from __future__ import annotations

from typing import Any

import numpy as np

from meddistill.base.errors import MedDistillError
from meddistill.data.formats.pictures import encode_jpeg
from meddistill.data.overlays import overlay
from meddistill.data.pixels import draw_boxes, shrink
from meddistill.labelling.assistant import Assistant, NotReadyError
from meddistill.labelling.book import LabelBook
from meddistill.labelling.pupil import Pupil, Review
from meddistill.labelling.state import BOXED, EMPTY
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case

TILE_SIDE = 256
"""Longest side of a picture on the sheet, px."""


class Reviews:
    """What `pupil` and the teacher of `assistant` say of the images of `data`, as they are labelled
    in `book`. Nothing is done before somebody asks for the sheet."""

    def __init__(self, data: Dataset, book: LabelBook, assistant: Assistant, pupil: Pupil) -> None:
        self.data = data
        self.book = book
        self.assistant = assistant
        self.pupil = pupil
        self._wanted = False
        self._of = ""
        self._found: dict[str, tuple[int, Review | None]] = {}

    def sheet(self) -> dict[str, Any]:
        """What is known so far, those that agree least first, and of how many images it is."""
        self._wanted = True
        self.assistant.nudge()
        numbers = {case.case_id: number for number, case in enumerate(self.data.cases)}
        rows = [
            {
                "number": numbers[case_id],
                "agreement": None if review.agreement is None else round(review.agreement, 3),
                "trust": None if review.trust is None else round(review.trust, 3),
                "boxes": [[round(side, 1) for side in box] for box in review.boxes],
                **self._labels(self.data.by_id[case_id]),
            }
            for case_id, (_, review) in list(self._found.items())
            if review is not None
        ]
        # Nothing is known of those where the student finds nothing and nobody has looked: last.
        rows.sort(
            key=lambda row: (row["agreement"] is None, row["agreement"] or 0.0, row["number"])
        )
        return {"student": self.pupil.key(), "of": len(self.data), "rows": rows}

    def _labels(self, case: Case) -> dict[str, Any]:
        state = self.book.state(case)
        findings = sorted({box.finding for box in state.boxes})
        return {"status": self.book.status(case), "findings": findings}

    def look_at_one(self) -> bool:
        """Review the next image that the teacher has seen; whether there was one. An image that
        cannot be read is passed over."""
        key = self.pupil.key() if self._wanted else ""
        if not key:
            return False
        if key != self._of:
            self._of, self._found = key, {}
        case = next((case for case in self.data.cases if self._is_due(case)), None)
        if case is None:
            return False
        version = self._version(case)
        try:
            review = self.pupil.review(
                case, self._known_boxes(case), lambda boxes: self.assistant.answer(case, boxes)
            )
        except (MedDistillError, NotReadyError):
            review = None
        self._found[case.case_id] = version, review
        return True

    def _is_due(self, case: Case) -> bool:
        """Whether it was not reviewed, or labelled since."""
        if case.case_id not in self.assistant.features:
            return False
        found = self._found.get(case.case_id)
        return found is None or found[0] != self._version(case)

    def _version(self, case: Case) -> int:
        return len(self.book.actions(case)) if self.book.touched(case) else 0

    def _known_boxes(self, case: Case) -> np.ndarray | None:
        state = self.book.state(case)
        if state.status(self.book.findings) not in (BOXED, EMPTY):
            return None
        return np.array([box.xyxy for box in state.boxes], np.float32).reshape(-1, 4)

    def picture(self, case: Case) -> bytes:
        """A JPEG of the image with the student's mask and the boxes that people drew. Raises:
        InputError."""
        image, mask = self.data.image(case), self.pupil.mask(case)
        small = shrink(image, TILE_SIDE)
        step = image.shape[0] / small.shape[0]
        rows, columns = (
            np.minimum(((np.arange(count) + 0.5) * step).astype(int), limit - 1)
            for count, limit in zip(small.shape[:2], mask.shape, strict=True)
        )
        boxes = self._known_boxes(case)
        drawn = overlay(small, mask[rows][:, columns])
        if boxes is not None and len(boxes):
            drawn = draw_boxes(drawn, boxes / step)
        return encode_jpeg(drawn, max_side=TILE_SIDE)
