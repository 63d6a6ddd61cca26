"""Judged slices with their neighbours, for a student that sees those."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from meddistill.data.context import alone, among, grey
from meddistill.data.intensity import IntensitySettings
from meddistill.evaluation.judged_cases import JudgedCase, read_image


class Neighbours:
    """Which judged cases lie beside each other, by the numbers of their slices."""

    def __init__(self, cases: Sequence[JudgedCase]) -> None:
        self._at = {
            (case.volume, case.slice): case
            for case in cases
            if case.volume and case.slice is not None
        }
        self._read = lru_cache(maxsize=64)(
            lambda case, intensity: grey(read_image(case.image, intensity))
        )

    def seen(
        self, case: JudgedCase, image: np.ndarray, context: int, intensity: IntensitySettings | None
    ) -> np.ndarray:
        """uint8 (H, W, 2 context + 1); where the volume ends or has a hole, the last slice repeats.

        Args:
            case: what is judged.
            image: its own, uint8 (H, W, 3).
            context: neighbours on each side.
            intensity: as in `read_image`.
        """
        if case.slice is None or not case.volume:
            return alone(image, context)
        before, after = (
            [self._at_step(case, sign * step) for step in range(1, context + 1)] for sign in (-1, 1)
        )
        chain = [*_unbroken(before)[::-1], case, *_unbroken(after)]
        place = chain.index(case)
        slices = [grey(image) if each is case else self._read(each, intensity) for each in chain]
        return among(slices, place, context)

    def _at_step(self, case: JudgedCase, step: int) -> JudgedCase | None:
        assert case.slice is not None
        return self._at.get((case.volume, case.slice + step))


def _unbroken(found: Sequence[JudgedCase | None]) -> list[JudgedCase]:
    """The cases up to the first that is not there."""
    kept: list[JudgedCase] = []
    for case in found:
        if case is None:
            break
        kept.append(case)
    return kept
