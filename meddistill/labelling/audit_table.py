"""RUN/labels/audit/audit.csv: which masks of test images the journals say are settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from meddistill.labelling.actions import Action
from meddistill.labelling.state import last_audit
from meddistill.run.audits import ACCEPTED, CORRECTED, AuditRow
from meddistill.run.tables import Case


def audit_rows(by_image: Mapping[str, Sequence[Action]], cases: Iterable[Case]) -> list[AuditRow]:
    """A row for each of `cases` whose mask was settled, in their order. `by_image`: what was done to
    each image, by its path in the source."""
    rows = []
    for case in cases:
        action = last_audit(by_image.get(case.source, []))
        if action is not None and action.audit is not None:
            found = action.audit
            verdict = CORRECTED if found.edits else ACCEPTED
            rows.append(
                AuditRow(case.case_id, verdict, found.mask, found.student, found.dice, action.user)
            )
    return rows
