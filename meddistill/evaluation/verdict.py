"""Everything that an evaluation finds out: gathered case by case, then taken together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from meddistill.data.findings import LESION, Findings
from meddistill.evaluation.answers import AnsweredCase, Methods
from meddistill.evaluation.audited import audit_summary
from meddistill.evaluation.baselines import BOXES, STUDENT, TEACHER, TEACHER_BY_TRUE_BOX
from meddistill.evaluation.box_scores import BoxScoreRow, score_boxes, summarise_boxes
from meddistill.evaluation.calibration import Calibration
from meddistill.evaluation.components import confuse_lesions
from meddistill.evaluation.foreign import ForeignFolder
from meddistill.evaluation.judged_cases import JudgedCase, JudgedCases
from meddistill.evaluation.scores import Judging, ScoreRow, score
from meddistill.evaluation.self_figures import of_itself
from meddistill.evaluation.self_told import SelfGathered, SelfTold, with_told
from meddistill.evaluation.summary import (
    bounds_by_finding,
    by_volume,
    define,
    error_budget,
    size_bounds,
    summarise,
)
from meddistill.student.predictor import Predictor


@dataclasses.dataclass
class Verdict:
    """`rows`: the scores by masks, one a case, method and finding; `box_rows`: those of cases that
    have boxes alone. `done`: the cases that could be read, `failures`:
    why the others could not. `near`: calibration near lesions of each of several findings;
    `confusion`: as `confuse_lesions` counts, by method. `n_cleaned`: cases of which cleaning up
    changed the student's mask. `told`: what it says of itself, by finding.
    """

    judging: Judging
    findings: Findings = LESION
    rows: list[ScoreRow] = dataclasses.field(default_factory=list)
    box_rows: list[BoxScoreRow] = dataclasses.field(default_factory=list)
    done: list[JudgedCase] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    calibration: dict[str, Calibration] = dataclasses.field(
        default_factory=lambda: {"all": Calibration(), "near": Calibration(near=True)}
    )
    near: dict[str, Calibration] = dataclasses.field(default_factory=dict)
    confusion: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    n_cleaned: int = 0
    told: dict[str, SelfGathered] = dataclasses.field(default_factory=dict)

    def add(self, answered: AnsweredCase) -> None:
        """Count a case; one without a true mask is scored by its boxes, without those not at
        all."""
        self.done.append(answered.case)
        self.n_cleaned += answered.cleaned
        if answered.truth is None:
            self._add_boxes(answered)
            return
        for method, guess in answered.guesses.items():
            for place in answered.places:
                row = score(
                    answered.case,
                    method,
                    guess.masks[place],
                    None if guess.probs is None else guess.probs[place],
                    answered.truth[place],
                    self.judging,
                    self.findings.tag(place),
                )
                if method == STUDENT and answered.told is not None:
                    row = self._add_told(row, answered, answered.told, place)
                self.rows.append(row)
        probs = answered.guesses[STUDENT].probs
        assert probs is not None  # the student always has some
        for place in answered.places:
            for counted in self.calibration.values():
                counted.add(probs[place], answered.truth[place])
        if not self.findings.is_one:
            self._add_to_findings(answered, answered.truth, probs)

    def _add_told(
        self, row: ScoreRow, answered: AnsweredCase, told: SelfTold, place: int
    ) -> ScoreRow:
        assert answered.truth is not None
        guess = answered.guesses[STUDENT]
        gathered = self.told.setdefault(self.findings.tag(place), SelfGathered())
        gathered.add(told, guess, answered.truth[place], place, self.judging.lesion_iou)
        return with_told(row, told, guess, place)

    def _add_to_findings(
        self, answered: AnsweredCase, truth: np.ndarray, probs: np.ndarray
    ) -> None:
        names, places = self.findings.names, list(answered.places)
        for place in places:
            near = self.near.setdefault(names[place], Calibration(near=True))
            near.add(probs[place], truth[place])
        # What nobody looked for is neither right nor wrong.
        known = np.isin(np.arange(len(names)), places)[:, None, None]
        for method, guess in answered.guesses.items():
            counted = confuse_lesions(
                guess.masks & known, truth & known, min_iou=self.judging.lesion_iou
            )
            self.confusion[method] = self.confusion.get(method, 0) + counted

    def _add_boxes(self, answered: AnsweredCase) -> None:
        boxes = answered.case.boxes
        if boxes is None:
            return
        reference = answered.guesses.get(TEACHER_BY_TRUE_BOX)
        for method, guess in answered.guesses.items():
            if method == TEACHER_BY_TRUE_BOX:
                continue
            for place in answered.places:
                true = None if reference is None else reference.masks[place]
                self.box_rows.append(
                    score_boxes(
                        answered.case,
                        method,
                        boxes[place],
                        guess.masks[place],
                        true,
                        self.findings.tag(place),
                    )
                )

    def rows_of(self, case: JudgedCase) -> list[ScoreRow]:
        return [row for row in self.rows if row.case_id == case.case_id]

    def summary(
        self, judged: JudgedCases, methods: Methods, warnings: list[str], seed: int
    ) -> dict[str, Any]:
        """What summary.json holds.

        Args:
            judged: the cases, and what they are of.
            methods: what is compared.
            warnings: what a reader must know.
            seed: of the resampled intervals.
        """
        config, rows = methods.config, self.rows
        one = self.findings.is_one
        calibration: dict[str, Any] = {
            name: counted.as_dict() for name, counted in self.calibration.items()
        }
        if self.near:
            calibration["near_by_finding"] = {
                name: counted.as_dict() for name, counted in self.near.items()
            }
        return {
            "split": config.split,
            "threshold": methods.threshold,
            "n_cases": len(judged.cases),
            "n_scored": len({row.case_id for row in rows}),
            "failures": self.failures,
            "warnings": warnings,
            "skipped": methods.baselines.skipped,
            "postprocessing": {
                "flip_average": methods.mirrors,
                "min_component_px": config.min_component_px,
                "keep_largest": config.keep_largest,
                "n_changed": self.n_cleaned,
            },
            "labels": methods.baselines.labels,
            "definitions": define(self.judging),
            "size_bounds_px": size_bounds(rows) if one else bounds_by_finding(rows),
            "methods": summarise(rows, seed=seed) if rows else {},
            "volumes": by_volume(rows),
            "calibration": calibration if rows else None,
            "error_budget": error_budget(rows, STUDENT, TEACHER, BOXES),
            "by_boxes": summarise_boxes(self.box_rows, seed=seed),
            **({"finding": self.findings.names[0]} if one else self._of_findings()),
            **({"audit": audit_summary(judged.audit)} if judged.audit else {}),
        }

    def of_itself(
        self, predictor: Predictor, foreign: Sequence[ForeignFolder] = ()
    ) -> dict[str, Any] | None:
        """What was judged of what the student says of itself (`self_figures.of_itself`); None where
        it says nothing, or no case has a mask."""
        return of_itself(self.rows, self.told, predictor, foreign) if self.told else None

    def _of_findings(self) -> dict[str, Any]:
        """What the summary says of several: how they are drawn, and which was found as which."""
        told = {method: counts.tolist() for method, counts in self.confusion.items()}
        return {"findings": self.findings.as_dict(), "confusion": told}
