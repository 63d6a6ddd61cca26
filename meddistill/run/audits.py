"""RUN/labels/audit: masks of test images that people judged, where nobody had drawn a mask before.

Written by labelling, read by evaluation; training knows nothing of it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from meddistill.base.csv_tables import read_table, write_table
from meddistill.run.grid_file import read_grid
from meddistill.run.layout import AUDIT_CSV, RunDir

ACCEPTED, CORRECTED = "accepted", "corrected"


@dataclasses.dataclass(frozen=True, slots=True)
class AuditRow:
    """One test image of which a person settled the mask, a row of audit.csv. `verdict`: the
    student's mask was `accepted` as it was, or `corrected`; `mask`: the settled one, a PNG beside
    the table; `student`: a key of the student that was shown, `dice` that of its mask with the
    settled one, in [0, 1]; `user`: who judged."""

    case_id: str
    verdict: str
    mask: str
    student: str
    dice: float
    user: str


def audit_folder(labels_dir: Path) -> Path:
    return labels_dir / "audit"


def may_audit(run: RunDir) -> bool:
    """Whether `label --audit` takes this RUN: one finding, on the pixels of the source."""
    from meddistill.run.findings import (
        read_findings,
    )  # reads YAML, which few who audit nothing need

    return read_findings(run.data).is_one and read_grid(run.data) is None


def write_audit(labels_dir: Path, rows: list[AuditRow]) -> None:
    write_table(audit_folder(labels_dir) / AUDIT_CSV, AuditRow, rows)


def read_audit(labels_dir: Path) -> dict[str, AuditRow]:
    """The rows by case; empty where nothing was audited. Raises: InputError for a damaged table."""
    path = audit_folder(labels_dir) / AUDIT_CSV
    if not path.exists():
        return {}
    return {row.case_id: row for row in read_table(path, AuditRow)}
