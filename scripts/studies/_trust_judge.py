"""Judging in the study of trust: flags of foreign and changed images, and the teacher's opinion. No study
of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from _spoiled import DRAWN, LOOKS, SPOILED, Change

from meddistill.base.console import track
from meddistill.colearning.second_opinion import TeacherOpinion
from meddistill.data.findings import as_planes
from meddistill.data.masks import read_mask
from meddistill.evaluation.foreign import distances, flags_of, foreign_folders
from meddistill.evaluation.scores import ScoreRow
from meddistill.evaluation.trust_scores import judge_expected, judge_rejection
from meddistill.run.dataset import Dataset
from meddistill.run.layout import RunDir
from meddistill.run.tables import Case
from meddistill.run.true_masks import mask_path
from meddistill.student.student import Student
from meddistill.student.trust.asked import Answer, settle

SPOILED_IMAGES, LOOK_IMAGES = 60, 100


@dataclasses.dataclass(frozen=True)
class OwnImages:
    """The judged images, uint8 (H, W, 3), and their true masks, bool (H, W)."""

    images: Sequence[np.ndarray]
    truths: Sequence[np.ndarray]

    @classmethod
    def of(cls, run: RunDir, rows: Sequence[ScoreRow]) -> OwnImages:
        """In the order of the table's rows."""
        dataset = Dataset.open(run.data)
        cases: list[Case] = [dataset.by_id[row.case_id] for row in rows]
        images = [dataset.image(case) for case in track(cases, "own images", len(cases))]
        return cls(images, [_truth(run, case) for case in cases])

    def some(self, most: int) -> OwnImages:
        """At most so many, evenly."""
        places = sorted({place * len(self.images) // most for place in range(most)})
        return OwnImages(
            [self.images[place] for place in places], [self.truths[place] for place in places]
        )


def _truth(run: RunDir, case: Case) -> np.ndarray:
    """Empty of a case that was said to show nothing, which needs no mask file."""
    if case.annotation == "none" and not case.has_mask:
        return np.zeros((case.height, case.width), bool)
    return read_mask(mask_path(run.data, case))


def dice_of(mask: np.ndarray, truth: np.ndarray) -> float:
    """1 of two empty masks."""
    total = int(mask.sum() + truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def flags(
    student: Student, own: OwnImages, far_from: Sequence[str], near: Sequence[str]
) -> dict[str, Any]:
    """By kind of images and name what is flagged: own, NAME=FOLDER of foreign images (`far_from`, `near`),
    changed ones."""
    readings = [seen.reading for seen in student.look(own.images)]
    far = distances([each.signals for each in readings if each is not None])
    told = {"own": {"own": flags_of(student, own.images, far)}}
    for kind, given in (("far", far_from), ("near", near)):
        told[kind] = {
            folder.name: flags_of(student, folder.images(student.preprocessing.intensity), far)
            for folder in foreign_folders(given, f"--{kind}")
        }
    few, half = own.some(SPOILED_IMAGES), own.some(LOOK_IMAGES)
    for kind, changes, some in (
        ("spoiled", SPOILED, few),
        ("drawn", DRAWN, few),
        ("look", LOOKS, half),
    ):
        told[kind] = {
            name: _changed(student, some, change, far) for name, change in changes.items()
        }
    return told


def _changed(student: Student, own: OwnImages, change: Change, far: np.ndarray) -> dict[str, Any]:
    """Flags of changed images, and what the change does to the Dice."""
    images = [change.of_image(image) for image in own.images]
    truths = [change.of_mask(truth) for truth in own.truths]
    before, after = (
        float(
            np.mean(
                [
                    dice_of(seen.probs >= student.preprocessing.threshold, truth)
                    for seen, truth in zip(student.look(some), masks, strict=True)
                ]
            )
        )
        for some, masks in ((own.images, own.truths), (images, truths))
    )
    return {**flags_of(student, images, far), "dice_loss": before - after}


def asked(student: Student, own: OwnImages, opinion: TeacherOpinion) -> dict[str, Any] | None:
    """Expected Dice with the teacher's opinion, and what --refine does, on images with a lesion; None
    where too few could be asked about."""
    assert student.trust is not None
    findings, cuts = student.preprocessing.findings, student.preprocessing.cuts
    told, dice, refined, count = [], [], [], 0
    pairs = [pair for pair in zip(own.images, own.truths, strict=True) if pair[1].any()]
    for image, truth in track(pairs, "asking the teacher", len(pairs)):
        (seen,) = student.look([image])
        raw = as_planes(seen.probs)
        assert seen.reading is not None
        answer = Answer(seen.reading, findings.masks(raw, cuts), raw, raw, cuts)
        said = opinion(image, answer.masks)
        alone, better = (
            settle(answer, said, student.trust, findings, refine) for refine in (False, True)
        )
        of = alone.reading.findings[0]
        if of.expected_dice is None:
            return None
        told.append([of.expected_dice, of.expected_dice_low, of.expected_dice_high])
        dice.append(dice_of(alone.masks[0], truth))
        refined.append(dice_of(better.masks[0], truth))
        count += bool(better.refined[0])
    if len(told) < 2:
        return None
    expected, low, high = np.array(told, float).T
    true = np.array(dice)
    return {
        "expected": judge_expected(expected, low, high, true),
        "rejection": judge_rejection({"expected": expected}, true),
        "refine": {
            "dice": float(true.mean()),
            "refined": float(np.mean(refined)),
            "share": count / len(told),
        },
        "seconds_each": opinion.seconds / max(1, opinion.asked),
    }
