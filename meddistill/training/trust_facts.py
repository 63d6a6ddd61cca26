"""What the trust of a student was fitted on, in words, and what was too little to promise much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meddistill.base import console
from meddistill.student.trust.fits import FEW_CASES
from meddistill.student.trust.likeness import Likeness
from meddistill.student.trust.reading import UNFAMILIAR
from meddistill.student.trust.trust import Trust

Said = tuple[str, bool]
"""A sentence, and whether it is a warning."""
LEAST_CASES = 8
"""Validation cases below which expected Dice stays unknown."""


def say_facts(trust: Trust) -> None:
    """Tell the user what it was fitted on; as warnings where that was too little to promise much."""
    for sentence in trust.facts["sentences"]:
        (console.warn if sentence in trust.facts["too_few"] else console.say)(sentence)


def facts_of(
    names: Sequence[str],
    familiar: Said,
    likeness: Likeness | None,
    told: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """`Trust.facts`: `sentences` for a reader, those of them that warn (`too_few`), how many own images
    were `held` back, and `findings`.

    Args:
        names: of the findings.
        familiar: `familiar_by`.
        likeness: what is familiar; None: unknown.
        told: of each finding its `cases`, `calibrated_on`, what `empty` images there were and whether
            that `empty_is_few`.
    """
    said = [familiar]
    for name, facts in zip(names, told, strict=True):
        said += _of_finding("" if len(names) == 1 else f" of {name}", facts)
    return {
        "sentences": [sentence for sentence, _ in said],
        "too_few": [sentence for sentence, warns in said if warns],
        "held": 0 if likeness is None else len(likeness.held),
        "findings": [dict(each) for each in told],
    }


def familiar_by(likeness: Likeness | None, held_are: str, alike: bool) -> Said:
    """What familiarity is a share of: `held_are`, in words; `alike`: whether all of them look the
    same."""
    if likeness is None:
        return "Familiarity is unknown: no own image was left that taught it nothing.", False
    count = len(likeness.held)
    told = f"Familiarity is a share of {count} {held_are}: none can be below {likeness.least:.3f}."
    if alike:
        told += (
            f" All {count} look the same, which tells nothing of how far others may differ: "
            "`meddistill calibrate RUN --images DIR` takes images that do."
        )
    elif likeness.least >= UNFAMILIAR:
        told += f" No image can be called unfamiliar (below {UNFAMILIAR:g}) by so few."
    return told, alike or likeness.least >= UNFAMILIAR


def _of_finding(of: str, facts: Mapping[str, Any]) -> list[Said]:
    """Sentences of one finding, which `of` names where there are several."""
    said: list[Said] = []
    cases, calibrated = facts["cases"], facts["calibrated_on"]
    if not calibrated:
        told = "as the network gives them: no validation image says what they mean."
        said.append((f"Probabilities{of} are {told}", True))
    elif calibrated < FEW_CASES:
        told = f"{calibrated} validation image(s), which is few to go by."
        said.append((f"Probabilities{of} were calibrated on {told}", True))
    if cases < LEAST_CASES:
        told = (
            f"Expected Dice{of} is unknown: {cases} validation case(s) with a lesion, {LEAST_CASES} are "
            "needed (box more images, or raise prepare.val_fraction). So is whether anything is there."
        )
        return [*said, (told, True)]
    few = f" That is fewer than {FEW_CASES}: its interval is 0 to 1, and nothing is promised."
    told = f"Expected Dice{of} was fitted on {cases} validation cases against the teacher."
    is_few = cases < FEW_CASES
    said.append((told + few * is_few, is_few))
    said.append((f"Whether anything is there{of}: {facts['empty']}.", facts["empty_is_few"]))
    return said
