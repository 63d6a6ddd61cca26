"""How far what a student says of itself is to be trusted, judged by true masks: expected Dice, risk
by coverage, flags, and sentences for a reader without statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

REJECTED = 0.2
"""Share of the images that is looked at by a person in the figures of rejection."""


def judge_expected(
    expected: np.ndarray, low: np.ndarray, high: np.ndarray, dice: np.ndarray
) -> dict[str, float]:
    """Expected Dice and its bounds beside the true one, all (N,) in [0, 1], N at least 2.

    `spearman` 0 where either never changes. `constant_width`: of the shortest interval that holds as
    much of all true ones without looking at the image.
    """
    covered = float(((low <= dice) & (dice <= high)).mean())
    return {
        "cases": len(dice),
        "dice": float(dice.mean()),
        "spearman": _spearman(expected, dice),
        "mean_error": float(np.abs(expected - dice).mean()),
        "bias": float((expected - dice).mean()),
        "covered": covered,
        "width": float((high - low).mean()),
        "constant_width": _shortest(dice, covered),
    }


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)


def _shortest(values: np.ndarray, share: float) -> float:
    ordered = np.sort(values)
    held = max(1, int(np.ceil(share * len(ordered) - 1e-9)))
    return float((ordered[held - 1 :] - ordered[: len(ordered) - held + 1]).min())


def risk_by_coverage(surest_first: np.ndarray, dice: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean of 1 - Dice over the k surest images, k from 1 to N, and the mean of that curve, its
    area (AURC: Geifman et al. 2019).

    `surest_first` (N,): the higher, the surer; images as sure as each other count as in the mean of
    all their orders.
    """
    risk = 1 - dice.astype(np.float64)
    order = np.argsort(-surest_first, kind="stable")
    shared = risk[order].copy()
    levels = surest_first[order]
    for level in np.unique(levels):
        same = levels == level
        shared[same] = shared[same].mean()
    curve = np.cumsum(shared) / np.arange(1, len(risk) + 1)
    return curve, float(curve.mean())


def judge_rejection(
    by: dict[str, np.ndarray], dice: np.ndarray, share: float = REJECTED
) -> dict[str, Any]:
    """What it gains to leave the worst `share` of the images to a person, by each score in `by` (the
    higher, the surer) and by the true Dice (`oracle`)."""
    kept = len(dice) - int(share * len(dice))
    told: dict[str, Any] = {"share": share, "all": float(dice.mean())}
    for name, score in {**by, "oracle": dice}.items():
        curve, area = risk_by_coverage(score, dice)
        told[name] = {"kept": float(1 - curve[kept - 1]), "aurc": area}
    return told


def area_under_roc(own: np.ndarray, foreign: np.ndarray) -> float:
    """The odds that a foreign image scores higher than an own one, ties counted half."""
    ordered = np.sort(own)
    below = np.searchsorted(ordered, foreign, "left") + np.searchsorted(ordered, foreign, "right")
    return float((below / (2 * len(ordered))).mean())


def froc(
    odds: np.ndarray, present: np.ndarray, false_rates: Sequence[float] = (0.05, 0.1, 0.15, 0.2)
) -> list[dict[str, float]]:
    """Sensitivity on images with a lesion where at most so large a share of those without one is
    called, by `odds` (N,); nothing where either kind is missing."""
    with_lesion, without = odds[present], odds[~present]
    if not len(with_lesion) or not len(without):
        return []
    found = []
    for rate in false_rates:
        allowed = int(np.floor(rate * len(without) + 1e-9))
        cut = np.sort(without)[::-1][allowed] if allowed < len(without) else -np.inf
        found.append({"false_rate": rate, "sensitivity": float((with_lesion > cut).mean())})
    return found


def lesion_froc(
    lesions: Sequence[tuple[float, bool]], *, n_true: int, n_images: int
) -> dict[str, list[float]] | None:
    """Share of true lesions found by false ones an image, as the score falls from which on a predicted
    lesion counts (FROC: Bunch et al. 1978); it ends at the student's own threshold.

    `lesions`: score of each predicted one, and whether it is a true one. None without a true one.
    """
    if not n_true or not n_images:
        return None
    scores = np.array([score for score, _ in lesions])
    hits = np.array([hit for _, hit in lesions], bool)
    cuts = np.unique(scores)[::-1]
    found = [float((hits & (scores >= cut)).sum() / n_true) for cut in cuts]
    false = [float((~hits & (scores >= cut)).sum() / n_images) for cut in cuts]
    return {"false_per_image": [0.0, *false], "sensitivity": [0.0, *found]}


def sentences(expected: dict[str, float], rejection: dict[str, Any]) -> list[str]:
    """The figures for a reader without statistics."""
    few = " That is too few to say much." if expected["cases"] < 30 else ""
    return [
        f"On {expected['cases']:.0f} images with a lesion the expected Dice is off by "
        f"{expected['mean_error']:.2f} on average.{few}",
        f"The interval held the true Dice on {expected['covered']:.0%} of them (it should on 90%), "
        f"with a mean width of {expected['width']:.2f}; the same for all would take "
        f"{expected['constant_width']:.2f}.",
        _of_rejection(expected, rejection),
    ]


def _of_rejection(expected: dict[str, float], rejection: dict[str, Any]) -> str:
    left = f"Leaving the {rejection['share']:.0%} with the lowest expected Dice to a person"
    if rejection["share"] * expected["cases"] < 1:
        return f"{left}: too few images to say what that gains."
    gained = rejection["expected"]["kept"] - rejection["all"]
    possible = rejection["oracle"]["kept"] - rejection["all"]
    if possible < 1e-6:
        return f"{left} gains nothing: all are equally good."
    moves = "raises" if gained >= 0 else "lowers"
    confidence = ""
    if "confidence" in rejection:
        confidence = f"; by plain confidence to {rejection['confidence']['kept']:.3f}"
    return (
        f"{left} {moves} the mean from {rejection['all']:.3f} to "
        f"{rejection['expected']['kept']:.3f}: {gained / possible:.0%} of what knowing the truth "
        f"would gain{confidence}."
    )
