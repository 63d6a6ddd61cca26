"""Masks that people settled in an audit (`label --audit`), as the truth of cases without a mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from meddistill.base.hashing import fingerprint_source, hash_files
from meddistill.evaluation.judged_cases import JudgedCases
from meddistill.run.audits import ACCEPTED, CORRECTED, AuditRow, audit_folder


def with_audit(
    judged: JudgedCases, settled: Mapping[str, AuditRow], labels_dir: Path
) -> JudgedCases:
    """The cases of one finding, with the masks that were `settled`, by case, of those that have none
    of their own; as they are where there is none. `labels_dir`: RUN/labels, where the masks lie."""
    if judged.findings is not None and not judged.findings.is_one:
        return judged
    audit = {
        case.case_id: settled[case.case_id]
        for case in judged.cases
        if case.mask is None and case.case_id in settled
    }
    if not audit:
        return judged
    folder = audit_folder(labels_dir)
    masks = {case_id: folder / row.mask for case_id, row in audit.items()}
    cases = [
        dataclasses.replace(case, mask=masks[case.case_id], boxes=None)
        if case.case_id in masks
        else case
        for case in judged.cases
    ]
    inputs = {"audit": fingerprint_source(hash_files(masks.values(), folder), folder)}
    return dataclasses.replace(judged, cases=cases, inputs={**judged.inputs, **inputs}, audit=audit)


def audit_summary(audit: Mapping[str, AuditRow]) -> dict[str, int]:
    """How many masks people settled, and how; of how many students they saw the masks."""
    rows = audit.values()
    return {
        "cases": len(rows),
        ACCEPTED: sum(row.verdict == ACCEPTED for row in rows),
        CORRECTED: sum(row.verdict == CORRECTED for row in rows),
        "students": len({row.student for row in rows}),
    }


def audit_warnings(judged: JudgedCases) -> list[str]:
    """What a reader must know of figures by an audit; nothing without one."""
    if not judged.audit:
        return []
    told = audit_summary(judged.audit)
    return [
        f"the masks to judge by are those that people settled on {told['cases']} of "
        f"{len(judged.cases)} cases, beginning from a student's: {told[ACCEPTED]} accepted as they "
        f"were, {told[CORRECTED]} corrected. Figures by mask are of these cases alone, and rather "
        "too good: who accepts is led by what is shown"
    ]
