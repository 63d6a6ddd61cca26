"""The odds that a finding is there at all, fitted on images of which somebody knows."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from meddistill.data.boxes import fill_boxes, grow_boxes, mask_to_boxes
from meddistill.run.dataset import Dataset
from meddistill.run.labels import annotated_findings
from meddistill.run.tables import Case
from meddistill.student.trust.fits import FEW_CASES, RISES, Line, best_cut, cross_fitted, fit_line
from meddistill.student.trust.signals import mask_signals
from meddistill.training.trust_facts import LEAST_CASES
from meddistill.training.trust_lessons import Lesson

LEAST_EMPTY = 10
"""Looked-at images without a lesion below which what lies outside the boxes stands for more of them, and
what such images look like is not learnt."""
_LEAST_APART = 0.01
"""Mean odds of images with a lesion and without, nearer to each other than which nothing is told."""
_LOOK_PULL = 30.0
"""As the pull of a line, but for hundreds of features, which a few hundred images must not fill."""
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Looks:
    """What images look like to the student, (., D) float32 (`likeness.looks`): of N that taught it, with
    `present` (N, C), 1 where a finding is there, 0 where somebody looked and found none, NaN where
    nobody looked; and of the M of validation, in the order of their signals."""

    taught: np.ndarray
    present: np.ndarray
    held: np.ndarray


@dataclasses.dataclass(frozen=True)
class Presence:
    """As `FindingTrust` has it: a line over signals, what the look of an image adds to it, the cut.
    `told`: what stood for images without a lesion, in words; `warns`: whether that is little."""

    line: Line | None
    look: np.ndarray | None
    cut: float
    told: str
    warns: bool = False


def presence_of(dataset: Dataset, case: Case, findings: tuple[str, ...]) -> np.ndarray:
    """(C,): 1 where the case has a box of the finding, 0 where it has none, NaN where nobody looked."""
    _, which = annotated_findings(dataset.directory, case)
    found = [float((which == place).any()) for place in range(len(findings))]
    looked = [case.looked_for(name) for name in findings]
    return np.where(looked, found, np.nan)


def fit_presence(
    lesson: Lesson, signals: np.ndarray, looks: Looks | None, place: int, n_empty: int
) -> Presence:
    """The odds that the finding at `place` is there.

    Args:
        lesson: what validation says of it.
        signals: (V + E, K), of the lesson's cases, then of validation images without any finding.
        looks: of these and of what taught the student; None: unknown.
        place: of the finding.
        n_empty: E.
    """
    count = len(lesson.known)
    has = lesson.known & ~lesson.absent & (lesson.target.max((1, 2), initial=0) >= 0.5)
    # By what people said: a target is empty, too, where nothing but a setting says that none is there.
    without = np.r_[lesson.known & lesson.absent, np.ones(n_empty, bool)].astype(bool)
    negatives, told = signals[without], f"{int(without.sum())} images looked at, without a lesion"
    if stands_in := len(negatives) < LEAST_EMPTY and bool(has.any()):
        told = (
            f"{len(negatives)} images looked at have none, which is too few: what lies outside the boxes "
            f"of {int(has.sum())} others stands for more{_drawn(lesson, has)}"
        )
        negatives = np.concatenate([negatives, _outside(lesson, has)])
    if has.sum() < LEAST_CASES or len(negatives) < LEAST_CASES:
        return Presence(None, None, 0.5, "too few validation cases")
    if few := len(negatives) < FEW_CASES:
        told += f"; fewer than {FEW_CASES} promise nothing"
    both = np.concatenate([signals[:count][has], negatives])
    is_there = np.r_[np.ones(int(has.sum())), np.zeros(len(negatives))]
    line = fit_line(both, is_there, RISES)
    found = Presence(line, None, best_cut(line(both), is_there > 0.5), told, few)
    learnt = None if looks is None or stands_in else _line_of_looks(looks, place)
    if looks is not None and learnt is not None:
        held = np.concatenate([looks.held[:count][has], looks.held[without]])
        every = [*lesson.groups, *(f"empty {number}" for number in range(n_empty))]
        groups = [every[place] for place in [*np.flatnonzero(has), *np.flatnonzero(without)]]
        found = _with_look(found, learnt, both, held, is_there, groups)
    return found if found.look is not None else _unless_flat(found, line(both), is_there > 0.5)


def _unless_flat(found: Presence, odds: np.ndarray, is_there: np.ndarray) -> Presence:
    """`found`, or nothing where its odds are about the same with a lesion and without: a flat p near a
    half would be a yes or a no by chance."""
    if odds[is_there].mean() - odds[~is_there].mean() >= _LEAST_APART:
        return found
    told = f"unknown, for masks do not tell ({found.told})"
    return Presence(None, None, 0.5, told, warns=True)


def _line_of_looks(looks: Looks, place: int) -> Line | None:
    """Whether a finding is there, by what the images that taught the student look like to it."""
    present = looks.present[:, place]
    known = ~np.isnan(present)
    if min((present[known] > 0.5).sum(), (present[known] < 0.5).sum()) < LEAST_EMPTY:
        return None
    free = (0,) * looks.taught.shape[1]
    return fit_line(looks.taught[known].astype(np.float64), present[known], free, _LOOK_PULL)


def _with_look(
    plain: Presence,
    learnt: Line,
    signals: np.ndarray,
    looks: np.ndarray,
    is_there: np.ndarray,
    groups: list[str],
) -> Presence:
    """With what the look of an image says, if that makes what is there more likely on groups that it was
    not fitted on, by more than the standard error of the difference."""
    odds = looks.astype(np.float64) @ learnt.weights + learnt.bias
    both, rises = np.c_[signals, odds], (*RISES, 1)
    costs = [
        _cross_entropy(cross_fitted(given, is_there, groups, signs), is_there)
        for given, signs in ((signals, RISES), (both, rises))
    ]
    gain = costs[0] - costs[1]
    if gain.mean() <= gain.std() / np.sqrt(len(gain)):
        return plain
    line = fit_line(both, is_there, rises)
    share = float(line.weights[-1])
    return Presence(
        Line(line.weights[:-1], line.bias + share * learnt.bias),
        share * learnt.weights,
        best_cut(line(both), is_there > 0.5),
        f"{plain.told}, and what training images look like that have none",
        plain.warns,
    )


def _cross_entropy(odds: np.ndarray, is_there: np.ndarray) -> np.ndarray:
    safe = np.clip(odds, 1e-6, 1 - 1e-6)
    return -(is_there * np.log(safe) + (1 - is_there) * np.log(1 - safe))


def _drawn(lesson: Lesson, has: np.ndarray) -> str:
    """In words, of how many of the cases with a lesion people drew boxes, where not of all."""
    drawn, count = int(lesson.inside[has].any((1, 2)).sum()), int(has.sum())
    return "" if drawn == count else f" ({drawn} of {count} drawn, else those of the target)"


def _outside(lesson: Lesson, has: np.ndarray) -> np.ndarray:
    """Signals of the cases with a lesion as if nothing were in their boxes; where nobody drew any (a
    detector may have found it), in those of the target."""
    inside = lesson.inside[has].copy()
    for index in np.flatnonzero(~inside.any((1, 2))):
        target = lesson.target[has][index] >= 0.5
        inside[index] = fill_boxes(grow_boxes(mask_to_boxes(target)), target.shape)
    outside = lesson.logits[torch.from_numpy(has)][:, None].clone()
    outside[torch.from_numpy(inside)[:, None]] = -15.0
    cuts = torch.tensor([lesson.cut])
    found = [mask_signals(part, cuts)[:, 0] for part in torch.split(outside, _BATCH)]
    return torch.cat(found).numpy().astype(np.float64)
