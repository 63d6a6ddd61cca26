"""Masks of random test images, settled by a person: what a student is worth where nobody has drawn
a mask.

The student's mask is shown; who finds it right accepts it, who does not corrects it by boxes that
the teacher answers, strokes or polygons. What comes out is a mask to judge by, and trains nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from meddistill.base.errors import StageError
from meddistill.colearning.beliefs import dice
from meddistill.data.formats.pictures import write_png
from meddistill.evaluation.statistics import describe
from meddistill.labelling.actions import Action
from meddistill.labelling.assistant import FAILED, OFF, NotReadyError
from meddistill.labelling.edits import Audit, Edit, apply_edits
from meddistill.labelling.session import Session
from meddistill.run.audits import CORRECTED, AuditRow, audit_folder
from meddistill.run.dataset import Dataset
from meddistill.run.layout import RunDir
from meddistill.run.next_commands import eval_again
from meddistill.run.tables import Case

AUDIT = "audit"
_ACCEPTED, _CORRECTED, _OPEN = "a", "c", "o"


def audited_cases(run: RunDir, data: Dataset, count: int) -> list[Case]:
    """The test cases whose masks are settled: drawn by their names, so that a larger count adds to
    a smaller one's. Raises: StageError where there is none."""
    tests = data.of_split("test")
    if not tests:
        raise StageError(f"{run.data} has no test case to audit")
    by_chance = sorted(
        tests, key=lambda case: hashlib.sha256(f"audit {case.case_id}".encode()).digest()
    )
    return by_chance[:count]


class AuditSession(Session):
    """A session in which masks are settled instead of boxes drawn."""

    mode = AUDIT

    def about(self) -> dict[str, Any]:
        run = RunDir(self.book.folder.parent)
        return {**super().about(), "next_command": eval_again(run, run.student, split="test")}

    def news(self, since: int) -> dict[str, Any]:
        return {**super().news(since), "audit": self.audit_result()}

    def counts(self) -> dict[str, int]:
        rows = self._rows()
        corrected = sum(row.verdict == CORRECTED for row in rows)
        return {
            "accepted": len(rows) - corrected,
            "corrected": corrected,
            "open": len(self.data) - len(rows),
        }

    def letter(self, case: Case) -> str:
        row = self._row(case)
        if row is None:
            return _OPEN
        return _CORRECTED if row.verdict == CORRECTED else _ACCEPTED

    def after(self, passed: Collection[int], order: str) -> int | None:
        """The next that is not settled nor among those."""
        return next(
            (
                place
                for place, case in enumerate(self.data.cases)
                if place not in passed and self._row(case) is None
            ),
            None,
        )

    def upcoming(self) -> list[Case]:
        return sorted(self.data.cases, key=lambda case: self._row(case) is not None)

    def doubted(self) -> list[Case]:
        return []

    def audit_result(self) -> dict[str, Any] | None:
        """Dice of the student's masks with the settled ones: mean, its 95 % interval over groups
        (None for one group), and of how many; None before there is one."""
        rows = self._rows()
        if not rows:
            return None
        groups = [self.data.by_id[row.case_id].group or row.case_id for row in rows]
        spread = describe([row.dice for row in rows], groups, seed=0)
        return {"dice": spread.mean, "ci95": spread.ci95, "n": spread.n}

    def edited(self, case: Case, edits: Sequence[Edit]) -> np.ndarray:
        """The student's mask after corrections, bool (H, W). Raises: InputError; NotReadyError
        where the teacher is asked and cannot answer."""
        return apply_edits(
            self.pupil.mask(case),
            edits,
            lambda box: self.assistant.answer(case, box.reshape(1, 4))[0],
        )

    def prepared(self, action: Action) -> Action:
        if action.kind in ("undo", "redo"):
            return action
        case = next((case for case in self.data.cases if case.source == action.image), None)
        if action.kind != "audit" or action.audit is None or case is None:
            raise ValueError("an audit settles masks of its own images, and draws no box")
        if action.audit.student not in ("", self.pupil.key()):
            raise ValueError("another student was trained meanwhile: look at its mask")
        settled = self._settled(case, action.audit.edits)
        found = Audit(
            action.audit.edits,
            f"{action.action_id}.png",
            self.pupil.key(),
            round(dice(self.pupil.mask(case), settled), 4),
        )
        # Before the journal tells of it: what is told to be saved is there.
        write_png(audit_folder(self.book.folder) / found.mask, settled.astype(np.uint8) * 255)
        return dataclasses.replace(action, audit=found)

    def _settled(self, case: Case, edits: Sequence[Edit]) -> np.ndarray:
        try:
            return self.edited(case, edits)
        except NotReadyError as error:
            if self.assistant.help().state in (OFF, FAILED):  # sent again, it would fail again
                raise ValueError(str(error)) from error
            raise

    def _rows(self) -> list[AuditRow]:
        ours = self.data.by_id
        return [row for row in self.book.audits() if row.case_id in ours]

    def _row(self, case: Case) -> AuditRow | None:
        return next((row for row in self.book.audits([case])), None)
