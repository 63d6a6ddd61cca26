"""What RUN/labels says of each image, as `prepare` and `eval` take it over: from the journals,
as the tables beside them follow late where the page was killed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from meddistill.data.findings import Findings
from meddistill.data.prepare.relabel import Drawn, DrawnImage
from meddistill.labelling.actions import Action
from meddistill.labelling.audit_table import audit_rows
from meddistill.labelling.book import read_actions, states_of
from meddistill.labelling.journal import SUFFIX
from meddistill.labelling.state import BOXED, EMPTY
from meddistill.run.audits import AuditRow, audit_folder, read_audit
from meddistill.run.tables import Case

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


def settled_masks(folder: Path, cases: Iterable[Case]) -> dict[str, AuditRow]:
    """Whose masks people settled in an audit, by case; of a copy without journals by its audit.csv,
    and none where nothing was audited. Raises: InputError for a journal or a table that is damaged."""
    if not audit_folder(folder).exists():
        return {}
    if not any(folder.glob(f"*{SUFFIX}")):
        return read_audit(folder)
    by_image: dict[str, list[Action]] = {}
    for action in read_actions(folder):
        by_image.setdefault(action.image, []).append(action)
    return {row.case_id: row for row in audit_rows(by_image, cases)}


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
