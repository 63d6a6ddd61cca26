"""How a person corrects a mask: by boxes that the teacher answers, strokes and polygons; each as it
was drawn, so that the journal tells how a mask came about."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from meddistill.data.formats.shapes import Shapes, stroke

BOX, STROKE, POLYGON, CLEAR = "box", "stroke", "polygon", "clear"
ADD, REMOVE, REPLACE = "add", "remove", "replace"
_LEAST_NUMBERS = {BOX: 4, STROKE: 2, POLYGON: 6, CLEAR: 0}
MOST_EDITS, MOST_NUMBERS, WIDEST = 200, 4000, 2000.0
_TAKES = (ADD, REMOVE, REPLACE)


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """One correction. `kind`: `box`, `stroke`, `polygon` or `clear`; `take`: whether it adds to the
    mask, removes from it or replaces it. `points`: x, y, x, y, ... px of the image, of a box its
    corners x1, y1, x2, y2; `width` of a stroke, px."""

    kind: str
    take: str = ADD
    points: tuple[float, ...] = ()
    width: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Audit:
    """What a person made of a student's mask: no edit accepts it. `mask`: the settled one's file
    name; `student`: a key of whose mask it was, `dice` that of its mask with the settled one."""

    edits: tuple[Edit, ...] = ()
    mask: str = ""
    student: str = ""
    dice: float = 0.0


def apply_edits(
    mask: np.ndarray, edits: Sequence[Edit], answer: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """A mask bool (H, W) after corrections, in their order. `answer`: what the teacher makes of a
    box (4,) px, bool (H, W). Raises: what `answer` raises."""
    for edit in edits:
        if edit.kind == CLEAR:
            mask = np.zeros_like(mask)
            continue
        drawn = _drawn(edit, mask.shape, answer)
        if edit.take == ADD:
            mask = mask | drawn
        elif edit.take == REMOVE:
            mask = mask & ~drawn
        else:
            mask = drawn
    return mask


def _drawn(
    edit: Edit, size_hw: tuple[int, ...], answer: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    height, width = size_hw
    if edit.kind == BOX:
        return answer(np.array(edit.points, np.float32))
    if edit.kind == STROKE:
        points = np.array(edit.points, np.float32).reshape(-1, 2)
        return stroke((height, width), points, edit.width)
    return Shapes((height, width), (edit.points,)).load()


def plain_audit(audit: Audit) -> dict[str, Any]:
    """As JSON holds it."""
    plain = dataclasses.asdict(audit)
    plain["edits"] = [{**edit, "points": list(edit["points"])} for edit in plain["edits"]]
    return plain


def read_audit(value: Any, name: str) -> Audit:
    """What `plain_audit` gave. Raises: ValueError saying what does not fit."""
    if not isinstance(value, dict):
        raise ValueError(f"'{name}' is no object")
    mask, student = value.get("mask", ""), value.get("student", "")
    plain = all(
        isinstance(each, str) and each.replace(".", "").replace("-", "").replace("_", "").isalnum()
        for each in (mask, student)
        if each != ""
    )
    if not plain or ".." in mask or len(mask) + len(student) > 200:
        raise ValueError(f"'{name}' names no mask")
    return Audit(read_edits(value.get("edits")), mask, student, _number(value.get("dice", 0.0)))


def read_edits(value: Any) -> tuple[Edit, ...]:
    """The edits of a list as JSON gave it. Raises: ValueError saying what does not fit."""
    if not isinstance(value, list) or len(value) > MOST_EDITS:
        raise ValueError(f"'edits' is no list of at most {MOST_EDITS}")
    return tuple(map(_edit, value))


def _edit(value: Any) -> Edit:
    if not isinstance(value, dict) or value.get("kind") not in tuple(_LEAST_NUMBERS):
        raise ValueError(f"an edit's kind is none of {', '.join(_LEAST_NUMBERS)}")
    kind, take, points = value["kind"], value.get("take", ADD), value.get("points", [])
    if take not in _TAKES:
        raise ValueError(f"an edit's 'take' is none of {', '.join(_TAKES)}")
    if not isinstance(points, list) or len(points) > MOST_NUMBERS or len(points) % 2:
        raise ValueError(
            f"an edit's points are no list of at most {MOST_NUMBERS} numbers, in pairs"
        )
    numbers = tuple(map(_number, points))
    if len(numbers) < _LEAST_NUMBERS[kind] or (kind == BOX and not _has_area(numbers)):
        raise ValueError(f"a {kind} of {len(numbers)} numbers is none")
    width = _number(value.get("width", 0.0))
    if not 0 <= width <= WIDEST:
        raise ValueError(f"a stroke's width is {width:g}, expected at most {WIDEST:g} px")
    return Edit(kind, take, numbers, width)


def _has_area(numbers: Sequence[float]) -> bool:
    return len(numbers) == 4 and numbers[0] < numbers[2] and numbers[1] < numbers[3]


def is_finite(value: Any) -> bool:
    """Whether JSON's value is a number that a float holds; JSON writes whole ones of any length."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _number(value: Any) -> float:
    if not is_finite(value):
        raise ValueError(f"{value!r} is no number")
    if abs(value) > 1e6:
        raise ValueError(f"{value:g} lies beyond any image")
    return float(value)
