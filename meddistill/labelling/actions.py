"""What a person can do to an image: one action, one line of the journal."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from meddistill.labelling.edits import Audit, is_finite, plain_audit, read_audit

GIVEN, DRAWN, ACCEPTED, CORRECTED = "given", "drawn", "accepted", "corrected"
SOURCES = (GIVEN, DRAWN, ACCEPTED, CORRECTED)
"""Whose a box is: of RUN/data before anybody labelled, drawn by a person, a proposal that a person
accepted as it was, or one (or a given box) that a person moved."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "given": ("boxes", "nothing"),
    "draw": ("box",),
    "move": ("box_id", "xyxy"),
    "name": ("box_id", "finding"),
    "delete": ("box_id",),
    "empty": ("finding",),
    "unsure": ("finding",),
    "skip": (),
    "audit": ("audit",),
    "undo": ("of",),
    "redo": ("of",),
}
"""What each kind of action says, by its name. `given` is what RUN/data said of the image before the
first action; `finding` is empty for all of them; `audit` settles a student's mask and no box."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_TEXT = 1000
# Not whatever Python calls unprintable: names of screenshots hold narrow spaces, others wide ones.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """A box, px of the image in RUN/data, half-open."""

    box_id: str
    xyxy: tuple[float, float, float, float]
    finding: str
    source: str = DRAWN


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """One thing that was done to one image, named by its path in the source (`Case.source`).

    `action_id` was drawn by the page, so that what is sent twice is done once. `moment_ms`: of the
    server's clock, since 1970; it never falls within a journal. `kind` is a key of `NEEDS`, which
    says what of the rest it has.
    """

    action_id: str
    image: str
    kind: str
    user: str = ""
    moment_ms: int = 0
    box: Box | None = None
    box_id: str = ""
    xyxy: tuple[float, float, float, float] | None = None
    finding: str = ""
    of: str = ""
    boxes: tuple[Box, ...] = ()
    nothing: tuple[str, ...] = ()
    audit: Audit | None = None
    among: tuple[str, ...] = ()
    """Of `empty` and `unsure` without a finding: which were meant by all of them; none where that was
    not written down, and then it is all that a reader knows of."""


def to_plain(action: Action) -> dict[str, Any]:
    """The action as JSON holds it; who did it stands at the head of the journal."""
    plain: dict[str, Any] = {
        "id": action.action_id,
        "t": action.moment_ms,
        "image": action.image,
        "do": action.kind,
    }
    for name in NEEDS[action.kind]:
        value = getattr(action, name)
        if isinstance(value, Box):
            value = _plain_box(value)
        elif isinstance(value, Audit):
            value = plain_audit(value)
        elif name == "boxes":
            value = [_plain_box(box) for box in value]
        plain[name] = list(value) if isinstance(value, tuple) else value
    if action.among:
        plain["among"] = list(action.among)
    return plain


def from_plain(plain: Any, user: str = "") -> Action:
    """The action that `to_plain` gave. Raises: ValueError saying what does not fit."""
    if not isinstance(plain, dict):
        raise ValueError(f"expected an object, got {type(plain).__name__}")
    kind = plain.get("do")
    if not isinstance(kind, str) or kind not in NEEDS:
        raise ValueError(f"'do' is {kind!r}, expected one of {', '.join(NEEDS)}")
    moment = plain.get("t", 0)
    if not isinstance(moment, int) or isinstance(moment, bool) or moment < 0:
        raise ValueError("'t' is no time in ms")
    read = {name: _READ[name](plain.get(name), name) for name in NEEDS[kind]}
    if kind in ("empty", "unsure"):
        read["among"] = _texts(plain.get("among", []), "among")
    image = _text(plain.get("image"), "image")
    return Action(_id(plain.get("id"), "id"), image, kind, user, moment, **read)


def _plain_box(box: Box) -> dict[str, Any]:
    return {
        "id": box.box_id,
        "xyxy": list(box.xyxy),
        "finding": box.finding,
        "source": box.source,
    }


def _box(value: Any, name: str) -> Box:
    if not isinstance(value, dict):
        raise ValueError(f"'{name}' is no box")
    source = value.get("source")
    if source not in SOURCES:
        raise ValueError(f"a box's source is {source!r}, expected one of {', '.join(SOURCES)}")
    corners, finding = _xyxy(value.get("xyxy"), "xyxy"), _text(value.get("finding"), "finding")
    return Box(_id(value.get("id"), "id"), corners, finding, source)


def _boxes(value: Any, name: str) -> tuple[Box, ...]:
    return tuple(_box(each, name) for each in _list(value, name))


def _texts(value: Any, name: str) -> tuple[str, ...]:
    return tuple(_text(each, name) for each in _list(value, name))


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"'{name}' is no list")
    return value


def _id(value: Any, name: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError(f"'{name}' is no plain name of at most 64 letters, digits, '_' or '-'")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or _NO_TEXT.search(value):
        raise ValueError(f"'{name}' is no text of at most {_LONGEST_TEXT} characters")
    return value


def _xyxy(value: Any, name: str) -> tuple[float, float, float, float]:
    numbers = _list(value, name)
    if len(numbers) != 4 or not all(map(is_finite, numbers)):
        raise ValueError(f"'{name}' is not four numbers")
    x1, y1, x2, y2 = (float(each) for each in numbers)
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"'{name}' {x1:g},{y1:g},{x2:g},{y2:g} has no area")
    return x1, y1, x2, y2


_READ: Mapping[str, Any] = {
    "box": _box,
    "boxes": _boxes,
    "box_id": _id,
    "xyxy": _xyxy,
    "finding": _text,
    "of": _id,
    "nothing": _texts,
    "audit": read_audit,
}
