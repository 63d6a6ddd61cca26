"""Which boxes prompt the teacher for each case."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from meddistill.run.tables import Case

ANNOTATED, DETECTED, NO_BOX = "annotated", "detected", "none"
# A case that nobody boxed and that waits for a later round; and one whose box is the student's.
UNSEEN, STUDENT = "unseen", "student"
CARRIED = "carried"
"""A slice whose box came from its neighbour in the volume; of one beyond the end, without a box."""
NOTHING = np.zeros((0, 4), dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A case and the boxes (N, 4) px that its target is made from; `source` says whose they are, or
    `none`. `finding`: which of several they are of; empty where there is one."""

    case: Case
    boxes_xyxy_px: np.ndarray
    source: str
    finding: str = ""


def cases_needing_detector(cases: Sequence[Case], boxes: str) -> list[Case]:
    """Training and validation cases whose boxes can only come from a detector, by the rule of
    `distill.boxes`."""
    learning = [case for case in cases if case.split != "test"]
    return [case for case in learning if boxes != "annotated" or case.annotation == "unknown"]


def choose_prompts(
    cases: Sequence[Case],
    annotated: Mapping[str, np.ndarray],
    detected: Mapping[str, np.ndarray] | None,
    *,
    boxes: str,
    no_box: str,
) -> tuple[list[Prompt], list[Case]]:
    """The prompts, and the training and validation cases left out because nobody gave them a box.

    A case that people looked at and found without lesion is prompted by no box: its target is
    empty.

    Args:
        cases: to be prompted.
        annotated: case id -> (N, 4) px.
        detected: likewise; None where there is no detector, and test cases, whose boxes are
            always the detector's, then get no prompt.
        boxes: `annotated` (else the detector's), `detected`, or `both` (all of them; a pixel's
            probability is the largest over the boxes).
        no_box: `skip`, or `empty` for an empty target without a look.
    """
    prompts, skipped = [], []
    for case in cases:
        theirs = annotated.get(case.case_id, NOTHING)
        found = (detected or {}).get(case.case_id, NOTHING)
        if case.split == "test":
            if detected is not None:
                prompts.append(Prompt(case, found, DETECTED if len(found) else NO_BOX))
            continue
        chosen, source = _choose(case, theirs, found, boxes)
        looked_at = case.annotation == "none" and boxes != "detected"
        if len(chosen) or looked_at or no_box == "empty":
            prompts.append(Prompt(case, chosen, source))
        else:
            skipped.append(case)
    return prompts, skipped


def _choose(
    case: Case, theirs: np.ndarray, found: np.ndarray, boxes: str
) -> tuple[np.ndarray, str]:
    if boxes == "detected":
        return found, DETECTED if len(found) else NO_BOX
    if boxes == "annotated" and case.annotation != "unknown":
        return theirs, ANNOTATED if len(theirs) else NO_BOX
    if case.annotation == "none":
        return NOTHING, NO_BOX
    together = np.concatenate([theirs, found]) if len(theirs) else found
    return together, ANNOTATED if len(theirs) else DETECTED if len(found) else NO_BOX
