"""What RUN/labels says of each image, as `prepare` takes it over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meddistill.data.findings import Findings
from meddistill.data.prepare.relabel import Drawn, DrawnImage
from meddistill.labelling.actions import Action
from meddistill.labelling.book import read_actions, states_of
from meddistill.labelling.state import BOXED, EMPTY

_ANY = "lesion"


def drawn_boxes(folder: Path) -> dict[str, DrawnImage]:
    """What people drew, by the image's path in the source: of every image that somebody touched.
    Nothing is known of what was undone, skipped or not sure.

    Raises: InputError for a journal that is damaged or of another version.
    """
    actions = read_actions(folder)
    findings = _findings(actions)
    return {
        image: DrawnImage(
            tuple(box.xyxy for box in state.boxes),
            tuple(box.finding for box in state.boxes),
            tuple(sorted(state.nothing | {box.finding for box in state.boxes})),
            state.status(findings) in (BOXED, EMPTY),
        )
        for image, state in states_of(actions, findings).items()
    }


def fingerprint_labels(drawn: Drawn, findings: Findings) -> str:
    """What identifies labels to the stages after them: boxes, not who drew them when."""
    known = {path: image.of(findings) for path, image in sorted(drawn.items())}
    content: list[Any] = [
        (path, None if image is None else image.boxes) for path, image in known.items()
    ]
    if not findings.is_one:
        content += [
            (path, image.names, image.looked_for)
            for path, image in known.items()
            if image is not None
        ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _findings(actions: Sequence[Action]) -> tuple[str, ...]:
    """All that somebody looked for."""
    named = {action.finding for action in actions}
    for action in actions:
        named |= {box.finding for box in (action.box, *action.boxes) if box is not None}
        named |= {*action.nothing, *action.among}
    return tuple(sorted(named - {""})) or (_ANY,)
