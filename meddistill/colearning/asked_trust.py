"""Expected Dice with a teacher's second opinion, fitted on validation cases against its targets. No
mask is read here."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from meddistill.base.console import track
from meddistill.colearning.second_opinion import TeacherOpinion
from meddistill.data.findings import as_planes
from meddistill.data.frames import to_frame
from meddistill.run.dataset import Dataset
from meddistill.student.student import Student
from meddistill.student.trust.asked import TEACHER_CUT, agreement, asked_signals
from meddistill.student.trust.fits import FEW_CASES
from meddistill.student.trust.trust import AskedTeacher, FindingTrust, Trust
from meddistill.training.trust_facts import LEAST_CASES
from meddistill.training.trust_lessons import Lesson, Targets, at_most, with_truth
from meddistill.training.trusting import (
    OF_EXPECTED,
    fit_expected,
    lessons_of,
    most_cases,
)

_RISES = (*OF_EXPECTED, 1, 1)


@dataclasses.dataclass
class _Asked:
    """Of one finding, of the V validation cases: `signals` (V, K), NaN where nobody was asked;
    `refined` (V, S, S) bool, the teacher's answer in the student's frame."""

    signals: np.ndarray
    refined: np.ndarray


def fit_asked(
    student: Student,
    dataset: Dataset,
    targets: Targets,
    opinion: TeacherOpinion,
    about: AskedTeacher,
) -> Trust:
    """The student's trust with what the teacher's opinion adds; where too few validation cases could
    be asked about it stays as it is. `facts` say what it costs and gains.

    Args:
        student: with its trust.
        dataset: where images and boxes lie.
        targets: of the validation cases.
        opinion: the teacher.
        about: which teacher that is.
    """
    assert student.trust is not None
    targets = at_most(targets, most_cases(student))
    asked = _ask(student, dataset, targets, opinion)
    lessons = lessons_of(student, dataset, targets)
    findings, said = [], [f"With --ask-teacher: {opinion.cost} of validation."]
    too_few = []
    names = student.preprocessing.findings
    for place, (of, own) in enumerate(zip(student.trust.findings, asked, strict=True)):
        trust, sentence = _of_finding(of, own, lessons[place])
        findings.append(trust)
        said.append(f"{names.tag(place)}: {sentence}" if names.tag(place) else sentence)
        if trust.asked is None:
            too_few.append(said[-1])
    facts: dict[str, Any] = dict(student.trust.facts)
    facts["sentences"] = [*facts.get("sentences", ()), *said]
    facts["too_few"] = [*facts.get("too_few", ()), *too_few]
    return dataclasses.replace(student.trust, findings=tuple(findings), facts=facts, teacher=about)


def _ask(
    student: Student, dataset: Dataset, targets: Targets, opinion: TeacherOpinion
) -> list[_Asked]:
    stored = student.preprocessing
    count, size = len(targets), stored.image_size
    found = [
        _Asked(np.full((count, len(_RISES)), np.nan), np.zeros((count, size, size), bool))
        for _ in stored.findings.names
    ]
    for index, case_id in enumerate(track(targets.case_ids, "asking the teacher", count)):
        case = dataset.by_id[case_id]
        (seen,) = student.look([dataset.seen(case, stored.context)])
        masks = stored.findings.masks(as_planes(seen.probs), stored.cuts)
        told = opinion(dataset.image(case), masks)
        if told is None or seen.reading is None:
            continue
        frames = to_frame(torch.from_numpy(told.probs)[None], size)[0].numpy() >= TEACHER_CUT
        for place, own in enumerate(found):
            if np.isfinite(told.predicted_iou[place]):
                agreed = agreement(masks[place], told.probs[place])
                own.signals[index] = asked_signals(
                    seen.reading, place, agreed, told.predicted_iou[place]
                )
                own.refined[index] = frames[place]
    return found


def _of_finding(of: FindingTrust, asked: _Asked, lesson: Lesson) -> tuple[FindingTrust, str]:
    with_lesson = lesson.known & (lesson.target.max((1, 2), initial=0) >= 0.5)
    used = with_lesson & np.isfinite(asked.signals).all(1)
    if used.sum() < LEAST_CASES:
        told = f"The teacher could be asked about {used.sum()} validation case(s) with a lesion, "
        return dataclasses.replace(
            of, asked=None, refined=None
        ), told + f"{LEAST_CASES} are needed."
    signals, truth = asked.signals[used], lesson.truth[used]
    groups = [group for group, has in zip(lesson.groups, used, strict=True) if has]
    theirs = lesson.target[used] >= 0.5
    both = (asked.refined[used] & theirs).sum((1, 2))
    total = asked.refined[used].sum((1, 2)) + theirs.sum((1, 2))
    refined, own = with_truth(2 * both / total, truth), with_truth(lesson.dice[used], truth)
    trust = dataclasses.replace(
        of,
        asked=fit_expected(signals, own, groups, _RISES),
        refined=fit_expected(signals, refined, groups, _RISES),
    )
    assert trust.asked is not None
    assert trust.refined is not None
    chosen = trust.refined.line(signals) > trust.asked.line(signals)
    few = (
        f" That is fewer than {FEW_CASES}: its interval is 0 to 1."
        if used.sum() < FEW_CASES
        else ""
    )
    return trust, (
        f"Expected Dice with the teacher's opinion was fitted on {used.sum()} validation cases.{few} "
        f"--refine keeps its mask on {chosen.sum()} of them: Dice with the teacher's targets "
        f"{own.mean():.3f} to {np.where(chosen, refined, own).mean():.3f}. Its targets favour it: true "
        "masks gain less."
    )
