"""What the actions on an image come to: pure functions of the journal, nothing else is kept.

The page has the same rules in `state.js`, so that it answers at once and without a connection; a
test runs both on the same journals.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterable, Sequence

from meddistill.labelling.actions import ACCEPTED, CORRECTED, GIVEN, Action, Box

BOXED, EMPTY, UNSURE, SKIPPED, OPEN = "boxed", "empty", "unsure", "skipped", "open"
STATUSES = (BOXED, EMPTY, UNSURE, SKIPPED, OPEN)
"""Of an image: it has a box; looked at, nothing there; nobody can tell; to be looked at later; or
nobody has looked."""
_LONGEST_PAUSE_MS = 60_000


@dataclasses.dataclass(frozen=True)
class ImageState:
    """An image after all that was done to it. `nothing`, `unsure`: findings that were looked for
    and are not there, and those that nobody can tell; a finding in neither and without a box is
    open."""

    boxes: tuple[Box, ...] = ()
    nothing: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    skipped: bool = False

    def status(self, findings: Sequence[str]) -> str:
        """One of `STATUSES`; `findings` are those of the RUN."""
        if self.boxes:
            return BOXED
        if self.nothing.issuperset(findings):
            return EMPTY
        if self.unsure and (self.nothing | self.unsure).issuperset(findings):
            return UNSURE
        return SKIPPED if self.skipped else OPEN


def in_order(actions: Iterable[Action]) -> list[Action]:
    """The actions of several journals as they happened; at the same moment by user."""
    return sorted(actions, key=lambda action: (action.moment_ms, action.user))


def derive(actions: Sequence[Action], findings: Sequence[str]) -> ImageState:
    """The state of the image that `actions` are about, in their order; those undone do not count.

    What refers to a box that is not there does nothing, nor does a second `given`: two people may
    begin an image at the same moment.
    """
    state = ImageState()
    gone = undone(actions)
    for place, action in enumerate(actions):
        if action.kind == "given":
            if place == 0:
                state = ImageState(action.boxes, frozenset(action.nothing))
        elif action.kind not in ("undo", "redo") and action.action_id not in gone:
            state = _after(state, action, findings)
    return state


def undone(actions: Iterable[Action]) -> set[str]:
    """Ids of the actions that were undone and not done again."""
    gone: set[str] = set()
    for action in actions:
        if action.kind == "undo":
            gone.add(action.of)
        elif action.kind == "redo":
            gone.discard(action.of)
    return gone


def last_audit(actions: Sequence[Action]) -> Action | None:
    """The action that settled the image's mask; None where nobody did, or it was undone."""
    gone = undone(actions)
    settled = [each for each in actions if each.kind == "audit" and each.action_id not in gone]
    return settled[-1] if settled else None


def can_undo(actions: Iterable[Action], user: str) -> str:
    """The id of the last thing that `user` did and has not undone; empty where there is none.

    The page decides by its own twin of this and `can_redo`, `undoable` in `page/state.js`; a test
    holds both to the same answers.
    """
    return _stacks(actions, user)[0]


def can_redo(actions: Iterable[Action], user: str) -> str:
    """The id of what `user` undid last, where nothing new was done since; empty else."""
    return _stacks(actions, user)[1]


def _stacks(actions: Iterable[Action], user: str) -> tuple[str, str]:
    done: list[str] = []
    taken_back: list[str] = []
    for action in actions:
        if action.user != user or action.kind == "given":
            continue
        if action.kind == "undo":
            done = [each for each in done if each != action.of]
            taken_back.append(action.of)
        elif action.kind == "redo":
            taken_back = [each for each in taken_back if each != action.of]
            done.append(action.of)
        else:
            done.append(action.action_id)
            taken_back = []
    return (done or [""])[-1], (taken_back or [""])[-1]


def _after(state: ImageState, action: Action, findings: Sequence[str]) -> ImageState:
    if action.kind == "audit":
        return state
    if action.kind == "skip":
        return dataclasses.replace(state, skipped=True)
    state = dataclasses.replace(state, skipped=False)
    if action.kind == "draw" and action.box is not None:
        others = tuple(box for box in state.boxes if box.box_id != action.box.box_id)
        return _known(state, (*others, action.box), action.box.finding)
    if action.kind in ("empty", "unsure"):
        named = (action.finding,) if action.finding else action.among
        about = frozenset(named or findings)
        left = tuple(box for box in state.boxes if named and box.finding not in about)
        nothing, unsure = state.nothing - about, state.unsure - about
        if action.kind == "empty":
            return ImageState(left, nothing | about, unsure)
        return ImageState(left, nothing, unsure | about)
    return _changed(state, action)


def _changed(state: ImageState, action: Action) -> ImageState:
    """After `move`, `name` or `delete` of one box."""
    boxes: list[Box] = []
    named = ""
    for box in state.boxes:
        if box.box_id != action.box_id:
            boxes.append(box)
        elif action.kind == "move" and action.xyxy is not None:
            source = CORRECTED if box.source in (ACCEPTED, GIVEN) else box.source
            boxes.append(dataclasses.replace(box, xyxy=action.xyxy, source=source))
        elif action.kind == "name":
            named = action.finding
            boxes.append(dataclasses.replace(box, finding=action.finding))
    return _known(state, tuple(boxes), named)


def _known(state: ImageState, boxes: tuple[Box, ...], finding: str) -> ImageState:
    """With these boxes, after a box of `finding` appeared."""
    return ImageState(boxes, state.nothing - {finding}, state.unsure - {finding})


def counts_of(states: Iterable[ImageState], findings: Sequence[str], images: int) -> dict[str, int]:
    """How many of `images` have each status; `states` are of those that somebody touched."""
    counts = dict.fromkeys(STATUSES, 0)
    for state in states:
        counts[state.status(findings)] += 1
    counts[OPEN] += images - sum(counts.values())
    return counts


def seconds_a_box(actions: Sequence[Action]) -> float | None:
    """Median time to a box: between two of one person's actions, in their order, of which the later
    one gave a box. Pauses of more than a minute are left out; None where there is no such pair."""
    # What was given before is written with the first action, at the same moment.
    own = [action for action in actions if action.kind != GIVEN]
    took = [
        (after.moment_ms - before.moment_ms) / 1000
        for before, after in itertools.pairwise(own)
        if after.kind == "draw" and after.moment_ms - before.moment_ms <= _LONGEST_PAUSE_MS
    ]
    return statistics.median(took) if took else None
