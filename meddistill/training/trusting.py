"""What a finished student may say of itself, fitted on validation cases against the teacher's
targets, and on own images that taught it nothing. No mask is read here."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from meddistill.base import console
from meddistill.base.errors import is_out_of_memory
from meddistill.data.boxes import fill_boxes, grow_boxes, mask_to_boxes
from meddistill.data.context import as_seen
from meddistill.data.frames import preprocess
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.tables import Case
from meddistill.student.student import Student, input_tensor
from meddistill.student.trust.familiarity import Familiarity, fit_likeness, pooled
from meddistill.student.trust.fits import (
    FEW_CASES,
    RISES,
    SIGNALS,
    Meaning,
    cross_fitted,
    fit_interval,
    fit_line,
    fit_meaning,
)
from meddistill.student.trust.input_checks import Glance, all_alike, fit_ranges, glance
from meddistill.student.trust.likeness import Likeness
from meddistill.student.trust.reading import check_finite
from meddistill.student.trust.signals import mask_signals
from meddistill.student.trust.trust import Expected, FindingTrust, Trust
from meddistill.teachers.teacher import give_back_freed_memory
from meddistill.training.trust_facts import LEAST_CASES, facts_of, familiar_by
from meddistill.training.trust_lessons import Lesson, Targets, at_most, lesson_of, with_truth
from meddistill.training.trust_presence import Looks, Presence, fit_presence, presence_of

MOST_TRAINED, MOST_HELD, ENOUGH_HELD = 256, 300, 50
ALL_PIXELS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Weights of all pixels together in calibration, against 1 for those around boxes and masks."""
OF_EXPECTED = (*RISES, -1)
MOST_VALUES = 2**27
"""Of validation cases in all: their logits take .5 GB, what is made of them several times as much. Of
larger sets (volumes have thousands of slices) there are as many cases, evenly over them."""
_BATCH = 16


Each = TypeVar("Each")
Load = Callable[[], np.ndarray]
"""Gives one image as the student takes it, uint8."""


@dataclasses.dataclass(frozen=True)
class OwnImages:
    """`trained`: images that taught the student, and what is `present` in each, (C,): 1, 0, or NaN where
    nobody looked. `held`: own ones that taught it nothing, which `held_are` says in words."""

    trained: Sequence[Load]
    present: Sequence[np.ndarray]
    held: Sequence[Load]
    held_are: str


@dataclasses.dataclass(frozen=True)
class _Pass:
    """What the student made of N images: `logits` (N, C, S, S) float32, of none where they were not
    kept; `features` (N, D) float32; and what is seen without it."""

    logits: Tensor
    features: np.ndarray
    glances: Sequence[Glance]


def own_images(dataset: Dataset, taught: Sequence[str], context: int = 0) -> OwnImages:
    """Which images tell what is familiar: `taught` are the ids of the training cases; each with as
    many neighbours on each side as the student sees, `context`.

    Held back are unboxed images that taught nothing, where there are enough for a p-value of .02;
    else validation images, boxed or not.
    """
    ids = set(taught)
    trained = [case for case in dataset.of_split("train") if case.case_id in ids]
    idle = [
        case
        for case in dataset.of_split("train", "val")
        if case.case_id not in ids and case.annotation == "unknown"
    ]
    told = "unboxed images that taught nothing"
    if len(idle) < ENOUGH_HELD:
        idle = dataset.of_split("val") + [case for case in idle if case.split == "train"]
        told = "validation images"
    names = read_findings(dataset.directory).names
    present = [presence_of(dataset, case, names) for case in trained]
    return OwnImages(loads(dataset, trained, context), present, loads(dataset, idle, context), told)


def loads(dataset: Dataset, cases: Sequence[Case], context: int) -> list[Load]:
    return [functools.partial(dataset.seen, case, context) for case in cases]


def most_cases(student: Student) -> int:
    """Validation cases that are held at once."""
    stored = student.preprocessing
    values = len(stored.findings) * stored.image_size**2
    return max(FEW_CASES, MOST_VALUES // values)


def spread(images: Sequence[Each], most: int) -> list[Each]:
    """At most `most` of them, evenly over the list, in which those of a group stand together."""
    if len(images) <= most:
        return list(images)
    return [images[place * len(images) // most] for place in range(most)]


def fit_trust(student: Student, dataset: Dataset, own: OwnImages, targets: Targets) -> Trust:
    """All that can be fitted of a student; what cannot stays unknown, and `facts` say why.

    Raises: InputError where the student's features or answers are not finite.

    Args:
        student: as it will predict.
        dataset: where images and boxes lie.
        own: what tells what is familiar.
        targets: of the validation cases.
    """
    trained, held = spread(own.trained, MOST_TRAINED), spread(own.held, MOST_HELD)
    likeness, inputs, alike = None, None, False
    if trained and held:
        learnt, apart = (_see(student, images, "familiar images") for images in (trained, held))
        likeness = fit_likeness(learnt.features, apart.features)
        inputs, alike = fit_ranges(learnt.glances, apart.glances), all_alike(apart.glances)
    known, most = set(targets.case_ids), most_cases(student)
    empty = [
        case
        for case in dataset.of_split("val")
        if case.annotation == "none" and case.case_id not in known
    ]
    empty = spread(empty, most)
    targets = at_most(targets, most)
    val = [dataset.by_id[case_id] for case_id in targets.case_ids]
    seen = _see(
        student,
        loads(dataset, [*val, *empty], student.preprocessing.context),
        "validation",
        keep_logits=True,
    )
    signals = _signals(student, seen, likeness)
    looks = None
    if likeness is not None:
        there = np.array(spread(own.present, MOST_TRAINED))
        looks = Looks(likeness.looks(learnt.features), there, likeness.looks(seen.features))
    findings, told = [], []
    for place in range(len(student.preprocessing.findings)):
        lesson = lesson_of(student, dataset, targets, place, seen.logits)
        present = fit_presence(lesson, signals[:, place, : len(SIGNALS)], looks, place, len(empty))
        trust, facts = _of_finding(lesson, signals[:, place], present)
        findings.append(trust)
        told.append(facts)
    familiar = familiar_by(likeness, own.held_are, alike)
    facts = facts_of(student.preprocessing.findings.names, familiar, likeness, told)
    return Trust(tuple(findings), likeness, inputs, facts)


def lessons_of(student: Student, dataset: Dataset, targets: Targets) -> list[Lesson]:
    """What the validation cases with a target say of each finding."""
    val = [dataset.by_id[case_id] for case_id in targets.case_ids]
    images = loads(dataset, val, student.preprocessing.context)
    logits = _see(student, images, "validation", keep_logits=True).logits
    count = len(student.preprocessing.findings)
    return [lesson_of(student, dataset, targets, place, logits) for place in range(count)]


@torch.inference_mode()
def _see(student: Student, images: Sequence[Load], title: str, keep_logits: bool = False) -> _Pass:
    stored = student.preprocessing
    size, findings, context = stored.image_size, len(stored.findings), stored.context
    logits, features, glances = [torch.zeros(0, findings, size, size)], [], []
    starts = range(0, len(images), _BATCH)
    for start in console.track(starts, title, len(starts)):
        batch = [load() for load in images[start : start + _BATCH]]
        tensors = [input_tensor(image, context).to(student.device) for image in batch]
        frames = torch.cat([preprocess(each, student.preprocessing) for each in tensors])
        given, levels = _seen_at_once(student, frames)
        if keep_logits:
            # Its features may be finite all the same.
            check_finite(torch.sigmoid(given).numpy())
            logits.append(given)
        features.append(levels.numpy())
        shown = [as_seen(image, context)[..., context] if context else image for image in batch]
        glances += [glance(image) for image in shown]
    width = sum(student.module.feature_channels)
    together = np.concatenate([np.zeros((0, width), np.float32), *features])
    return _Pass(torch.cat(logits), together, glances)


def _seen_at_once(student: Student, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and pooled features of frames, float32 on the CPU; where memory runs out, the two halves
    one after the other."""
    try:
        given, maps = student.module.forward_with_features(frames)
        return given.float().cpu(), pooled(maps).float().cpu()
    except RuntimeError as error:
        if len(frames) == 1 or not is_out_of_memory(error):
            raise
    # Here the error is forgotten, and with it what was made meanwhile.
    give_back_freed_memory()
    halves = [_seen_at_once(student, half) for half in frames.tensor_split(2)]
    given, levels = (torch.cat(parts) for parts in zip(*halves, strict=True))
    return given, levels


def _signals(student: Student, seen: _Pass, likeness: Likeness | None) -> np.ndarray:
    """(N, C, K + 1): `SIGNALS` and the logarithm of the distance, 0 where there is none."""
    cuts = torch.tensor(student.preprocessing.cuts)
    found = [mask_signals(part, cuts) for part in torch.split(seen.logits, _BATCH)]
    signals = torch.cat(found) if found else torch.zeros(0, len(cuts), len(SIGNALS))
    far = torch.zeros(*signals.shape[:2], 1)
    if likeness is not None and len(seen.features):
        distance = Familiarity(likeness).distance(torch.from_numpy(seen.features))
        far = torch.log(distance)[:, None, None].expand(*signals.shape[:2], 1)
    return torch.cat([signals, far], dim=-1).numpy().astype(np.float64)


def _of_finding(
    lesson: Lesson, signals: np.ndarray, present: Presence
) -> tuple[FindingTrust, dict[str, Any]]:
    count = len(lesson.known)
    with_lesson = lesson.known & (lesson.target.max((1, 2), initial=0) >= 0.5)
    facts: dict[str, Any] = {"cases": int(with_lesson.sum())}
    corrected = with_truth(lesson.dice, lesson.truth)
    expected = None
    if with_lesson.sum() >= LEAST_CASES:
        groups = [group for group, has in zip(lesson.groups, with_lesson, strict=True) if has]
        expected = fit_expected(
            signals[:count][with_lesson], corrected[with_lesson], groups, OF_EXPECTED
        )
    facts |= {"empty": present.told, "empty_is_few": present.warns}
    meaning = _meaning(lesson)
    facts["calibrated_on"] = 0 if meaning == Meaning() else int(lesson.known.sum())
    if with_lesson.any():
        facts["dice_with_teacher"] = round(float(lesson.dice[with_lesson].mean()), 4)
        facts["teacher_by_boxes"] = round(float(lesson.truth[with_lesson].mean()), 4)
    return FindingTrust(expected, present.line, present.cut, present.look, meaning), facts


def fit_expected(
    signals: np.ndarray, dice: np.ndarray, groups: Sequence[str], rises: Sequence[int]
) -> Expected:
    """Expected Dice of signals (N, K), against `dice` (N,); its interval by lines that have not seen
    a case's group.

    Args:
        signals: what is known without a mask.
        dice: what came of it.
        groups: of each case.
        rises: as `fit_line`.
    """
    line = fit_line(signals, dice, rises)
    return Expected(line, fit_interval(cross_fitted(signals, dice, groups, rises), dice))


def _meaning(lesson: Lesson) -> Meaning:
    """Calibration where it matters, around boxes and masks, with as much weight on all pixels as it
    takes that those do not get worse for it (by the Brier score).

    On folds 3 and 4 of the brain tumour set and of BUSI fitting around alone put background up to .05,
    fitting all alone left an error of .06 around.
    """
    if not lesson.known.any():
        return Meaning()
    probs = torch.sigmoid(lesson.logits[lesson.known]).numpy()
    target = lesson.target[lesson.known]
    masks = probs >= lesson.cut
    around = lesson.inside[lesson.known].copy()
    for index, mask in enumerate(masks):
        around[index] |= fill_boxes(grow_boxes(mask_to_boxes(mask)), mask.shape)
    before = float(np.square(probs - target).mean())
    meaning = Meaning()
    for all_pixels in ALL_PIXELS:
        weight = around / max(1, around.sum()) + all_pixels / around.size
        meaning = fit_meaning(probs.ravel(), target.ravel(), weight.ravel())
        if float(np.square(meaning(probs) - target).mean()) <= before:
            break
    return meaning
