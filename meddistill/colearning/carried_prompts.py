"""Where a box that is carried through a volume has come, and what asks about the next slice: a box,
or the teacher's own memory of the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from meddistill.data.boxes import mask_to_boxes
from meddistill.data.frames import scaled_hw
from meddistill.run.tables import Case, QualityRow
from meddistill.targets.cache import load_target
from meddistill.targets.feature_basis import FeatureBasis
from meddistill.targets.making import TargetMaker
from meddistill.targets.prompts import CARRIED, NOTHING
from meddistill.targets.requests import TargetRequest
from meddistill.targets.walks import Walk
from meddistill.teachers.teacher import Memory

LEAST_AREA_PX = 4
"""Of the frame: a smaller component prompts nothing."""
MOST_LARGER = 1.5
"""By which a box may be larger than its mask's."""


@dataclasses.dataclass(frozen=True)
class Carrying:
    """Whose boxes are carried: of one finding, `known` says of each case whether somebody looked for
    it and `boxes` (N, 4) px of those that have it; `finding` is what its rows are called. `frame_size`: of the
    targets. `empty_share`: of slices beyond the ends that are learnt. `basis`: of the features that
    are kept, if any."""

    maker: TargetMaker
    known: Mapping[str, bool]
    boxes: Mapping[str, np.ndarray]
    finding: str
    frame_size: int
    empty_share: float
    basis: FeatureBasis | None = None

    def request(self, case: Case, boxes: np.ndarray, walk: Walk | None = None) -> TargetRequest:
        return TargetRequest(case, boxes, CARRIED, self.frame_size, None, self.finding, walk)

    def mask(self, row: QualityRow) -> np.ndarray:
        """The mask (S, S) that a row tells of."""
        return load_target(self.maker.directory, row.case_id, row.key).probs > 0.5


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
    the trust with which it was reached. `start`: the boxed slice that it began at. `walk`: what the
    teacher remembers of the way, where it does."""

    stack: Sequence[Case]
    place: int
    step: int
    mask: np.ndarray
    trust: float
    start: Start
    walk: Walk | None = None

    @property
    def following(self) -> Case | None:
        """The next slice, None where the volume ends or a slice is missing."""
        place = self.place + self.step
        if not 0 <= place < len(self.stack):
            return None
        here, there = self.stack[self.place], self.stack[place]
        return there if abs((there.slice or 0) - (here.slice or 0)) == 1 else None


def abreast(carrying: Carrying, fronts: Sequence[Front]) -> Iterator[list[Front]]:
    """The fronts that advance together, slice by slice, until all of them have ended.

    A teacher that is prompted by boxes answers many at a time. What another remembers of a way is
    large: there one front at a time goes to its end.
    """
    memory = carrying.maker.teacher.memory
    if memory is None:
        yield list(fronts)
        return
    for front in fronts:
        if unknown_ahead(carrying, front) is not None:
            yield _remembered(carrying, memory, front)


def _remembered(carrying: Carrying, memory: Memory, front: Front) -> list[Front]:
    """The front with a memory of its boxed slice: mask and predicted IoU there are what that gives,
    as those of the next slices are judged by them. None where it sees nothing there."""
    maker = carrying.maker
    ahead = front.stack[front.place :: front.step]
    walk = Walk(maker.teacher, memory, maker.dataset, ahead)
    (row,) = maker.answer([carrying.request(walk.boxed, front.start.boxes, walk)])
    mask = carrying.mask(row)
    start = dataclasses.replace(front.start, predicted_iou=least_iou(row))
    return [dataclasses.replace(front, mask=mask, start=start, walk=walk)] if mask.any() else []


def unknown_ahead(carrying: Carrying, front: Front) -> Case | None:
    """The next slice, None where there is none or somebody looked at it."""
    case = front.following
    return None if case is None or carrying.known[case.case_id] else case


def next_request(carrying: Carrying, front: Front, case: Case) -> TargetRequest:
    """What asks the teacher about the next slice."""
    if front.walk is not None:
        return carrying.request(case, front.start.boxes, front.walk)
    margin = carrying.maker.config.carry_margin
    return carrying.request(case, next_boxes(front, case, margin, carrying.frame_size))


def least_iou(row: QualityRow) -> float:
    """The predicted IoU of a boxed slice, above 0: others are divided by it."""
    return max(row.predicted_iou, 1e-3)


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
