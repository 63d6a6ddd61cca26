"""What RUN/labels says of each image, as `prepare` takes it over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.labelling.actions import Action
from meddistill.labelling.book import read_actions, states_of
from meddistill.labelling.state import BOXED, EMPTY

Boxes = tuple[tuple[float, float, float, float], ...]
"""Of an image, px, half-open; () where it was looked at and nothing is there."""
_ANY = "lesion"


def drawn_boxes(folder: Path) -> dict[str, Boxes | None]:
    """What people drew, by the image's path in the source: of every image that somebody touched.
    None where it is unknown all the same: undone, skipped or not sure.

    Raises: InputError for a journal that is damaged or of another version.
    """
    actions = read_actions(folder)
    findings = _findings(actions)
    drawn: dict[str, Boxes | None] = {}
    for image, state in states_of(actions, findings).items():
        known = state.status(findings) in (BOXED, EMPTY)
        drawn[image] = tuple(box.xyxy for box in state.boxes) if known else None
    return drawn


def fingerprint_labels(drawn: Mapping[str, Boxes | None]) -> str:
    """What identifies labels to the stages after them: boxes, not who drew them when."""
    return hashlib.sha256(json.dumps(sorted(drawn.items())).encode()).hexdigest()


def _findings(actions: Sequence[Action]) -> tuple[str, ...]:
    """All that somebody looked for."""
    named = {action.finding for action in actions}
    for action in actions:
        named |= {box.finding for box in (action.box, *action.boxes) if box is not None}
        named |= set(action.nothing)
    return tuple(sorted(named - {""})) or (_ANY,)
