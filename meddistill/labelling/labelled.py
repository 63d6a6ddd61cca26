"""What the heads learn from and what they propose, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from meddistill.labelling.book import LabelBook
from meddistill.labelling.state import BOXED, EMPTY
from meddistill.run.tables import Case


@dataclasses.dataclass(frozen=True)
class Labelled:
    """An image that a person is done with. `boxes`: finding -> (N, 4) float32 px, N = 0 for one
    that is not there; a finding that nobody knows is not in it."""

    case: Case
    boxes: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Proposed:
    """A box that the heads propose: px of the image, half-open; `confidence`: their mean
    probability inside, in [0, 1]."""

    xyxy: tuple[float, float, float, float]
    finding: str
    confidence: float


class LabelledSoFar:
    """`labelled_images` of a book, gathered anew where something was saved since. Several threads may
    ask."""

    def __init__(self, book: LabelBook) -> None:
        self._book = book
        self._found: tuple[int, list[Labelled]] = (-1, [])

    def __call__(self) -> list[Labelled]:
        version, found = self._found
        if version != self._book.version:
            version = self._book.version
            found = labelled_images(self._book)
            self._found = version, found
        return found


def labelled_images(book: LabelBook) -> list[Labelled]:
    """The images of training and validation with a box, or known to be empty. Test images teach
    nothing."""
    found = []
    for case in book.data.cases:
        if case.split == "test" or book.status(case) not in (BOXED, EMPTY):
            continue
        state = book.state(case)
        boxes = {
            finding: np.array(
                [box.xyxy for box in state.boxes if box.finding == finding], np.float32
            ).reshape(-1, 4)
            for finding in book.findings
            if finding in state.nothing or any(box.finding == finding for box in state.boxes)
        }
        found.append(Labelled(case, boxes))
    return found
