"""What a student says of one answer, and when a person should look at it. No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from meddistill.base.errors import InputError

NUMBERS = (
    "familiarity",
    "expected_dice",
    "expected_dice_low",
    "expected_dice_high",
    "p_finding",
)
"""What is said of an answer, in the order of `Readings` and of an exported graph's outputs."""
UNFAMILIAR = 0.05
"""p-value below which an image is called unfamiliar: so are that many of own ones."""


@dataclasses.dataclass(frozen=True)
class OfFinding:
    """What is expected of one finding's mask; None: unknown.

    `expected_dice` and its bounds in [0, 1]: of the mask with the truth, if there is a lesion.
    `p_finding` in [0, 1]: that there is one; `present_cut`: from where on that is a yes.
    """

    expected_dice: float | None = None
    expected_dice_low: float | None = None
    expected_dice_high: float | None = None
    p_finding: float | None = None
    present_cut: float = 0.5


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a student says of itself on one image.

    `familiarity` in [0, 1]: the share of own images that are at least as unlike those that it
    learned from; None: unknown. `signals` (C, K): what its expected Dice was made of. `least`: the
    smallest familiarity that any image could have.
    """

    familiarity: float | None
    findings: tuple[OfFinding, ...]
    signals: np.ndarray | None = dataclasses.field(default=None, compare=False)
    least: float = 0.0

    @property
    def of_other_masks(self) -> Reading:
        """The same of masks that are not cut where the student cuts them: what Dice to expect of those
        nobody fitted."""
        findings = tuple(
            dataclasses.replace(
                of, expected_dice=None, expected_dice_low=None, expected_dice_high=None
            )
            for of in self.findings
        )
        return dataclasses.replace(self, findings=findings)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What one pass gave of an image: `probs` as `predict_probs` does, not calibrated; `reading`
    None where the student knows nothing of itself."""

    probs: np.ndarray
    reading: Reading | None = None


def check_finite(probs: Sequence[np.ndarray] | np.ndarray) -> None:
    """Raise InputError where a student's answers are no numbers: its masks would all be empty, and
    nobody would know why."""
    bad = sum(not np.isfinite(each).all() for each in probs)
    if bad:
        raise InputError(
            f"the student's answers to {bad} of {len(probs)} images are not finite: its weights are "
            "damaged, or its training went wrong; restore them, or train it again: `meddistill "
            "distill` with --overwrite and the settings of its run.json"
        )


@dataclasses.dataclass(frozen=True)
class Review:
    """Whether a person should look, None where nothing is known; and why, in words."""

    wanted: bool | None
    why: tuple[str, ...] = ()


def review(
    reading: Reading | None, place: int, has_mask: bool, doubts: Sequence[str], below: float
) -> Review:
    """Whether to look at one finding's mask on one image; None, too, where nothing is odd and no number
    could have been a reason: that none is known is no promise.

    Args:
        reading: of the image; None: nothing is known.
        place: of the finding.
        has_mask: whether anything was segmented.
        doubts: what is odd about the image itself.
        below: expected Dice below which to look.
    """
    if reading is None:
        return Review(None)
    of, why = reading.findings[place], list(doubts)
    if reading.familiarity is not None and reading.familiarity < UNFAMILIAR:
        why.append(f"unfamiliar (p {reading.familiarity:.3f})")
    if has_mask and of.expected_dice is not None and of.expected_dice < below:
        why.append(f"expected Dice {of.expected_dice:.2f}")
    if of.p_finding is not None and has_mask != (of.p_finding >= of.present_cut):
        told = "perhaps nothing there" if has_mask else "nothing segmented, perhaps missed"
        why.append(f"{told} (p {of.p_finding:.2f})")
    could_tell = of.p_finding is not None or (has_mask and _promises(of))
    could_tell |= reading.familiarity is not None and reading.least < UNFAMILIAR
    return Review(bool(why) if why or could_tell else None, tuple(why))


def _promises(of: OfFinding) -> bool:
    """Whether more is said of the Dice than that it lies between 0 and 1 (less the rounding of a graph)."""
    if of.expected_dice_low is None or of.expected_dice_high is None:
        return False
    return of.expected_dice_high - of.expected_dice_low < 1 - 1e-4


def readings_of(
    familiarity: np.ndarray,
    numbers: np.ndarray,
    cuts: Sequence[float],
    signals: np.ndarray | None,
    least: float,
) -> list[Reading]:
    """A `Reading` an image; what is not finite is unknown.

    Args:
        familiarity: (B,).
        numbers: (B, C, 4): expected Dice, its bounds, and the odds of a finding.
        cuts: from where on those are a yes, a finding each.
        signals: (B, C, K), or None.
        least: the smallest familiarity that any image could have.
    """
    found = []
    for place, of_image in enumerate(numbers):
        of_findings = []
        for values, cut in zip(of_image, cuts, strict=True):
            expected, low, high, present = (_known(value) for value in values)
            if expected is None:
                low = high = None
            of_findings.append(OfFinding(expected, low, high, present, cut))
        own = None if signals is None else signals[place]
        found.append(Reading(_known(familiarity[place]), tuple(of_findings), own, least))
    return found


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
