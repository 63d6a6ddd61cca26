"""Where a box that is carried through a volume has come, and what it prompts the next slice with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from meddistill.data.boxes import mask_to_boxes
from meddistill.data.frames import scaled_hw
from meddistill.run.tables import Case
from meddistill.targets.prompts import NOTHING

LEAST_AREA_PX = 4
"""Of the frame: a smaller component prompts nothing."""
MOST_LARGER = 1.5
"""By which a box may be larger than its mask's."""


@dataclasses.dataclass(frozen=True)
class Start:
    """A boxed slice: its `place` in the stack, the teacher's predicted IoU there, its boxes (N, 4) px,
    by how much they are larger than the mask's (`ratio`, width and height), and the place and boxes
    of the next boxed slice in the direction, where both have a single box."""

    place: int
    predicted_iou: float
    boxes: np.ndarray
    ratio: np.ndarray
    ahead: tuple[int, np.ndarray] | None


@dataclasses.dataclass(frozen=True)
class Front:
    """Where one direction has come: `step` -1 or +1 along the stack from `place`; the mask there and
    the trust with which it was reached. `start`: the boxed slice that it began at."""

    stack: Sequence[Case]
    place: int
    step: int
    mask: np.ndarray
    trust: float
    start: Start

    @property
    def following(self) -> Case | None:
        """The next slice, None where the volume ends or a slice is missing."""
        place = self.place + self.step
        if not 0 <= place < len(self.stack):
            return None
        here, there = self.stack[self.place], self.stack[place]
        return there if abs((there.slice or 0) - (here.slice or 0)) == 1 else None


def ratio_of(boxes: np.ndarray, mask: np.ndarray, case: Case, frame_size: int) -> np.ndarray:
    """By how much the box around all boxes is larger than that around the mask, width and height."""
    found = mask_to_boxes(mask, LEAST_AREA_PX)
    if not len(found) or not len(boxes):
        return np.ones(2, np.float32)
    drawn = _around(boxes)
    answered = _around(found * _to_image(case, frame_size))
    return np.clip((drawn[2:] - drawn[:2]) / (answered[2:] - answered[:2]), 1.0, MOST_LARGER)


def _around(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _to_image(case: Case, frame_size: int) -> np.ndarray:
    """Px of the image a px of the frame, for x1, y1, x2, y2."""
    height, width = scaled_hw((case.height, case.width), frame_size)
    return np.array([case.width / width, case.height / height] * 2, np.float32)


def next_boxes(front: Front, case: Case, margin: float, frame_size: int) -> np.ndarray:
    """What prompts the next slice, larger by `margin` of its sides, in its px (N, 4)."""
    start = front.start
    if start.ahead is not None:
        place, other = start.ahead
        share = (front.place + front.step - start.place) / (place - start.place)
        boxes = (1 - share) * start.boxes + share * other
    elif front.place == start.place:
        boxes = start.boxes
    else:
        found = mask_to_boxes(front.mask, LEAST_AREA_PX)
        if not len(found):
            return NOTHING
        boxes = _larger(found * _to_image(case, frame_size), start.ratio - 1)
    limits = np.array([case.width, case.height] * 2, np.float32)
    grown = _larger(boxes, np.full(2, margin, np.float32))
    return np.clip(grown, 0, limits).astype(np.float32)


def _larger(boxes: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) about their middles, width and height larger by the shares (2,)."""
    more = (boxes[:, 2:] - boxes[:, :2]) * share / 2
    return np.concatenate([boxes[:, :2] - more, boxes[:, 2:] + more], axis=1)
