"""Boxes carried through a volume: a boxed slice prompts its neighbours, slice by slice, until the teacher
no longer trusts itself or somebody said that nothing is there.

A teacher that remembers follows the boxes by its own memory. Any other is prompted on every slice: between
two slices with a box each by what lies between both boxes; beyond the last by the box of the mask there, as
much larger as the box was than the mask on the boxed slice: a teacher whose masks are smaller than their
boxes would else lose the body within three slices.

What is reached so is no annotation: it gets rows of quality.csv of its own, with the trust that it was
carried with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from meddistill.base import console
from meddistill.colearning.beliefs import dice
from meddistill.colearning.carried_prompts import (
    Carrying,
    Front,
    Start,
    abreast,
    least_iou,
    next_request,
    ratio_of,
    unknown_ahead,
)
from meddistill.run.tables import Case, QualityRow
from meddistill.run.volumes import is_drawn, stacks
from meddistill.settings.targets import TargetsConfig
from meddistill.targets.packing import teaches
from meddistill.targets.prompts import NOTHING
from meddistill.targets.requests import TargetRequest

AGREES = 0.8
"""Dice of what came from both sides from which neither is doubted."""
CLEAR = 2
"""So many slices beyond the last one that was reached are neither the finding nor its absence."""
LEAST_NEGATIVE = 0.5
"""Trust from which a slice beyond the end is learnt as empty."""


@dataclasses.dataclass(frozen=True)
class Reached:
    """A slice that one direction came to: its row, its mask (S, S) and the trust that is left."""

    row: QualityRow
    mask: np.ndarray
    trust: float


def carry(
    carrying: Carrying, cases: Sequence[Case], quality: Sequence[QualityRow]
) -> list[QualityRow]:
    """Rows of the unboxed training slices that were reached, and of those beyond a finding's ends, in
    the order of `cases`; what was asked before is not asked again.

    Args:
        carrying: whose boxes, by which teacher.
        cases: all of the RUN.
        quality: rows of the slices that somebody looked at.
    """
    training = stacks([case for case in cases if case.split == "train"])
    fronts = list(_starts(carrying, training, quality))
    if not fronts:
        return []
    reached: dict[str, list[Reached]] = {}
    ends: dict[str, float] = {}
    with console.progress("carry boxes", sum(len(stack) for stack in training.values())) as bar:
        for together in abreast(carrying, fronts):
            while together:
                together = _advance(carrying, together, reached, ends)
                bar.note(f"{len(reached)} slices reached")
    config = carrying.maker.config
    rows = [settled(found, config) for found in reached.values()]
    rows += _beyond(carrying, training, reached, ends)
    order = {case.case_id: index for index, case in enumerate(cases)}
    rows.sort(key=lambda row: order[row.case_id])
    taught = [row for row in rows if teaches(row)]
    empty = sum(row.n_boxes == 0 for row in taught)
    what = f" of '{carrying.finding}'" if carrying.finding else ""
    console.say(
        f"boxes{what} were carried to {len(reached)} unboxed slices, {len(taught) - empty} of which are "
        f"trusted; {empty} beyond the ends are learnt as empty"
    )
    return rows


def _starts(
    carrying: Carrying, training: Mapping[str, list[Case]], quality: Sequence[QualityRow]
) -> Iterator[Front]:
    rows = {
        row.case_id: row
        for row in quality
        if row.finding == carrying.finding and row.n_boxes and teaches(row)
    }
    for stack in training.values():
        for place, case in enumerate(stack):
            row = rows.get(case.case_id)
            if row is None:
                continue
            mask = carrying.mask(row)
            boxes = carrying.boxes[case.case_id]
            ratio = ratio_of(boxes, mask, case, carrying.frame_size)
            for step in (-1, 1):
                ahead = _ahead(carrying, stack, place, step)
                start = Start(place, least_iou(row), boxes, ratio, ahead)
                yield Front(stack, place, step, mask, 1.0, start)


def _ahead(
    carrying: Carrying, stack: Sequence[Case], place: int, step: int
) -> tuple[int, np.ndarray] | None:
    """The next slice that somebody looked at, where it and this one have a single box."""
    there = place + step
    while 0 <= there < len(stack) and not carrying.known[stack[there].case_id]:
        there += step
    if not 0 <= there < len(stack):
        return None
    own = carrying.boxes[stack[place].case_id]
    other = carrying.boxes.get(stack[there].case_id, NOTHING)
    return (there, other) if len(own) == len(other) == 1 else None


def _advance(
    carrying: Carrying,
    fronts: Sequence[Front],
    reached: dict[str, list[Reached]],
    ends: dict[str, float],
) -> list[Front]:
    """Every front one slice further; those that are still trusted."""
    config = carrying.maker.config
    going: list[tuple[Front, TargetRequest]] = []
    for front in fronts:
        case = unknown_ahead(carrying, front)
        if case is not None:
            going.append((front, next_request(carrying, front, case)))
    further: list[Front] = []
    for pairs in _each_case_once(going):
        rows = carrying.maker.answer([request for _, request in pairs], carrying.basis)
        for (front, _), row in zip(pairs, rows, strict=True):
            mask = carrying.mask(row)
            trust = front.trust * _worth(front, row, mask)
            place = front.place + front.step
            if trust >= config.min_trust_carried and mask.any():
                found = Reached(row, mask, trust)
                reached.setdefault(row.case_id, []).append(found)
                further.append(dataclasses.replace(front, place=place, mask=mask, trust=trust))
            else:
                ends.setdefault(row.case_id, trust)
    return further


def _each_case_once(
    going: Sequence[tuple[Front, TargetRequest]],
) -> Iterator[list[tuple[Front, TargetRequest]]]:
    """Requests in batches in which no case is twice: each then keeps its own features."""
    left = list(going)
    while left:
        now: dict[str, tuple[Front, TargetRequest]] = {}
        later = []
        for pair in left:
            case_id = pair[1].case.case_id
            if case_id in now:
                later.append(pair)
            else:
                now[case_id] = pair
        yield list(now.values())
        left = later


def _worth(front: Front, row: QualityRow, mask: np.ndarray) -> float:
    """What one step keeps of the trust, in [0, 1]: the teacher's predicted IoU against that of the
    boxed slice, times how far the smaller of the two masks lies in the other: a body changes little
    from slice to slice."""
    smaller = min(int(front.mask.sum()), int(mask.sum()))
    if not smaller:
        return 0.0
    inside = int((front.mask & mask).sum()) / smaller
    return min(1.0, max(0.0, row.predicted_iou) / front.start.predicted_iou) * inside


def settled(found: Sequence[Reached], config: TargetsConfig) -> QualityRow:
    """The row of a slice, by all that came to it: of two directions the one that is trusted more, and
    less so where they differ."""
    best = max(found, key=lambda each: each.trust)
    trust = best.trust
    if len(found) > 1:
        agreement = min(dice(best.mask, each.mask) for each in found if each is not best)
        trust = trust if agreement >= AGREES else trust * agreement
    return _as_row(best.row, trust, config)


def _as_row(row: QualityRow, trust: float, config: TargetsConfig) -> QualityRow:
    accepted = trust >= config.min_trust_carried and (row.area_share > 0 or not row.n_boxes)
    reason = "" if accepted else f"trust {trust:.2f} below {config.min_trust_carried}: carried"
    weight = round(trust * config.carried_weight, 6) if accepted else 0.0
    return dataclasses.replace(
        row, doubt=round(1 - trust, 6), accepted=accepted, reason=reason, weight=weight
    )


def _beyond(
    carrying: Carrying,
    training: Mapping[str, list[Case]],
    reached: Mapping[str, Sequence[Reached]],
    ends: Mapping[str, float],
) -> list[QualityRow]:
    """Rows of slices beyond the finding's ends, which are learnt as empty with their trust."""
    config = carrying.maker.config
    trusted: dict[str, float] = {}
    requests = []
    for stack in training.values():
        for case, trust in _empty_slices(carrying, stack, reached, ends):
            if trust >= LEAST_NEGATIVE and is_drawn(case.case_id, carrying.empty_share):
                trusted[case.case_id] = trust
                requests.append(carrying.request(case, NOTHING))
    rows = carrying.maker.answer(requests, carrying.basis)
    return [
        dataclasses.replace(
            row,
            doubt=round(1 - trusted[row.case_id], 6),
            weight=round(trusted[row.case_id] * config.carried_weight, 6),
        )
        for row in rows
    ]


def _empty_slices(
    carrying: Carrying,
    stack: Sequence[Case],
    reached: Mapping[str, Sequence[Reached]],
    ends: Mapping[str, float],
) -> Iterator[tuple[Case, float]]:
    """The unknown slices in which nothing is, and how sure that is: between two that somebody saw
    empty fully; beyond the outermost that was reached, as much as the next one was distrusted."""
    has = [case.case_id in carrying.boxes or case.case_id in reached for case in stack]
    if not any(has):
        return
    first, last = has.index(True), len(has) - 1 - has[::-1].index(True)
    looked = [carrying.known[case.case_id] for case in stack]
    for sides, ahead in (
        (range(last + 1, len(stack)), 1),
        (range(first - 1, -1, -1), -1),
    ):
        seen_empty = False
        end = ends.get(stack[sides[0]].case_id, 1.0) if len(sides) else 1.0
        for distance, place in enumerate(sides):
            if looked[place]:
                seen_empty = True
            elif seen_empty:
                yield stack[place], 1.0
            elif distance >= CLEAR and not _looked_beyond(looked, place, ahead):
                yield stack[place], 1.0 - end


def _looked_beyond(looked: Sequence[bool], place: int, step: int) -> bool:
    """Whether somebody looked at a slice further out: what lies before it is not the end yet."""
    beyond = looked[place + 1 :] if step > 0 else looked[:place]
    return any(beyond)
