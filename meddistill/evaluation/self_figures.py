"""How far what a student says of itself can be trusted: the figures of one evaluation, and the same
in sentences for a reader without statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meddistill.evaluation.baselines import STUDENT
from meddistill.evaluation.foreign import ForeignFolder, flags_of
from meddistill.evaluation.scores import ScoreRow, by_finding
from meddistill.evaluation.self_told import REVIEW_BELOW, WHEN, WHERE, SelfGathered
from meddistill.evaluation.trust_scores import (
    froc,
    judge_expected,
    judge_rejection,
    lesion_froc,
    risk_by_coverage,
    sentences,
)
from meddistill.student.predictor import KnowsItself, Predictor
from meddistill.student.trust.reading import UNFAMILIAR

_POINTS = 60


def of_itself(
    rows: Sequence[ScoreRow],
    gathered: Mapping[str, SelfGathered],
    predictor: Predictor,
    foreign: Sequence[ForeignFolder] = (),
) -> dict[str, Any]:
    """What summary.json holds of it: `fitted_on` in words, `by_finding` the `figures`, `flags` by set
    of images, and `sentences` of each finding.

    Args:
        rows: of per_case.csv.
        gathered: what else was gathered, by finding.
        predictor: who says it.
        foreign: images that are not its own.
    """
    rows = [row for row in rows if row.method == STUDENT]
    told = figures(rows, gathered)
    flags: dict[str, Any] = {}
    first = next(iter(gathered))
    own = own_flags([row for row in rows if row.finding == first], gathered[first])
    if own is not None:
        flags["own"] = own
    for folder in foreign:
        images, taken = zip(*folder.shown(predictor.preprocessing), strict=True)
        far = np.array(gathered[first].distances)
        flags[folder.name] = flags_of(predictor, images, far, taken)
    trust = predictor.trust if isinstance(predictor, KnowsItself) else None
    facts = {} if trust is None else trust.facts
    sentences_of = {name: in_words(of, flags if name == first else {}) for name, of in told.items()}
    fitting = sorted({row.split for row in rows} & {"train", "val"})
    if fitting:
        before = (
            f"What follows is of {fitting[0]} images, which fitted it: on others it does worse."
        )
        sentences_of = {name: [before, *said] for name, said in sentences_of.items()}
    return {
        "fitted_on": list(facts.get("sentences", ())),
        "by_finding": told,
        "flags": flags,
        "sentences": sentences_of,
    }


def figures(
    rows: Sequence[ScoreRow], gathered: Mapping[str, SelfGathered]
) -> dict[str, dict[str, Any]]:
    """By finding ('' where there is one): what was judged of what the student says.

    `rows`: the student's, with what it says of itself. `expected`, `rejection` and `curves` are of
    cases with a lesion, and None with fewer than two of those or where expected Dice is unknown.
    """
    return {
        name: _of_finding(part, gathered[name])
        for name, part in by_finding(rows).items()
        if name in gathered
    }


def _of_finding(rows: Sequence[ScoreRow], gathered: SelfGathered) -> dict[str, Any]:
    with_lesion = [row for row in rows if row.true_px and row.expected_dice is not None]
    expected = rejection = curves = None
    if len(with_lesion) > 1:
        columns = {
            name: np.array([getattr(row, name) for row in with_lesion], float)
            for name in (
                "expected_dice",
                "expected_dice_low",
                "expected_dice_high",
                "dice",
                "confidence",
            )
        }
        given, low, high, dice, confidence = columns.values()
        expected = judge_expected(given, low, high, dice)
        rejection = judge_rejection({"expected": given, "confidence": confidence}, dice)
        curves = _curves({"expected": given, "confidence": confidence, "oracle": dice}, dice)
    return {
        "images": len(rows),
        "with_lesion": sum(row.true_px > 0 for row in rows),
        "expected": expected,
        "rejection": rejection,
        "curves": curves,
        "present": _present(rows, gathered.cut),
        "froc": lesion_froc(
            gathered.lesions,
            n_true=sum(row.lesions_found + row.lesions_missed for row in rows),
            n_images=len(rows),
        ),
        "calibration": {
            where: {when: gathered.calibration[where][when].as_dict() for when in WHEN}
            for where in WHERE
        },
        "review": _review(rows),
    }


def _curves(by: Mapping[str, np.ndarray], dice: np.ndarray) -> dict[str, list[float]]:
    """Risk by coverage at no more points than a chart can show."""
    count = len(dice)
    places = np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(int))
    found = {"coverage": ((places + 1) / count).tolist()}
    for name, score in by.items():
        found[name] = risk_by_coverage(score, dice)[0][places].tolist()
    return found


def _present(rows: Sequence[ScoreRow], cut: float | None) -> dict[str, Any] | None:
    """How often it says that something is there, by whether something is; None where it does not."""
    known = [row for row in rows if row.p_finding is not None]
    if not known or cut is None:
        return None
    odds = np.array([row.p_finding for row in known], float)
    there = np.array([row.true_px > 0 for row in known])
    called = odds >= cut
    return {
        "cut": cut,
        "with": int(there.sum()),
        "without": int((~there).sum()),
        "sensitivity": float(called[there].mean()) if there.any() else None,
        "false_rate": float(called[~there].mean()) if (~there).any() else None,
        "at": froc(odds, there),
    }


def _review(rows: Sequence[ScoreRow]) -> dict[str, int] | None:
    """None where it is known of no image whether a person should look."""
    if all(row.review is None for row in rows):
        return None
    bad = [row for row in rows if row.dice < REVIEW_BELOW]
    return {
        "images": len(rows),
        "marked": sum(bool(row.review) for row in rows),
        "bad": len(bad),
        "bad_marked": sum(bool(row.review) for row in bad),
    }


def own_flags(rows: Sequence[ScoreRow], gathered: SelfGathered) -> dict[str, Any] | None:
    """Of the judged images themselves, by the rows of one finding: shares called unfamiliar, odd as
    an image, either; None where familiarity is unknown."""
    known = [(row.familiarity, odd) for row, odd in zip(rows, gathered.odd, strict=True)]
    if not known or any(p_value is None for p_value, _ in known):
        return None
    far = np.array([p_value for p_value, _ in known], float) < UNFAMILIAR
    odd = np.array([odd for _, odd in known])
    return {
        "images": len(far),
        "unfamiliar": float(far.mean()),
        "odd": float(odd.mean()),
        "either": float((far | odd).mean()),
    }


def in_words(told: Mapping[str, Any], flags: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How far each number can be trusted, of one finding; `flags` by set of images, `own` first."""
    said = []
    if told["expected"] is None:
        said.append(
            "Expected Dice: unknown, or fewer than two images with a lesion to judge it by."
        )
    else:
        said += sentences(told["expected"], told["rejection"])
    said += [_of_present(told["present"]), _of_calibration(told["calibration"])]
    said.append(_of_review(told["review"]))
    if "own" in flags:
        own = flags["own"]
        said.append(
            f"Familiarity: {own['unfamiliar']:.0%} of these {own['images']} own images are called "
            "unfamiliar (one in twenty should be)."
        )
    said += [
        f"Of {of['images']} foreign images ({name}) {of['either']:.0%} are noticed, "
        f"{of['unfamiliar']:.0%} as unfamiliar."
        for name, of in flags.items()
        if name != "own"
    ]
    return said


def _of_present(present: Mapping[str, Any] | None) -> str:
    if present is None:
        return "Whether anything is there: unknown."
    said = []
    if present["with"]:
        said.append(f"{present['sensitivity']:.0%} of the {present['with']} images with a lesion")
    if present["without"]:
        said.append(f"{present['false_rate']:.0%} of the {present['without']} without one")
    missing = "" if present["without"] else "; false alarms cannot be measured, as all have one"
    measured = (present["with"], present["without"])
    few = "; few to measure on" if any(0 < count < 30 for count in measured) else ""
    return f"Whether anything is there: it says yes on {' and on '.join(said)}{missing}{few}."


def _of_calibration(parts: Mapping[str, Any]) -> str:
    around, everywhere = parts["around"], parts["all"]
    if everywhere["after"] == everywhere["before"]:
        near = f"{around['after']['ece']:.3f} around lesions and " * bool(
            around["after"]["n_pixels"]
        )
        return (
            f"Probabilities are off by {near}{everywhere['after']['ece']:.4f} over all pixels, as the network "
            "gives them: there were too few validation cases to calibrate them."
        )
    if not around["after"]["n_pixels"]:
        return (
            "Probabilities around lesions: not measured, as there is neither a lesion nor a mask; "
            f"over all pixels they are off by {everywhere['before']['ece']:.4f} before calibration "
            f"and {everywhere['after']['ece']:.4f} after it."
        )
    return (
        f"Probabilities around lesions are off by {around['before']['ece']:.3f} before calibration "
        f"and {around['after']['ece']:.3f} after it; over all pixels by "
        f"{everywhere['before']['ece']:.4f} and {everywhere['after']['ece']:.4f}."
    )


def _of_review(told: Mapping[str, int] | None) -> str:
    if told is None:
        return "Whether a person should look: unknown."
    share = f"{told['marked']} of {told['images']} images are marked for review"
    if not told["bad"]:
        return f"{share}; none has a Dice below {REVIEW_BELOW:g}."
    return f"{share}, among them {told['bad_marked']} of the {told['bad']} whose Dice is below {REVIEW_BELOW:g}."
