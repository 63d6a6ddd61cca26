"""What every method says of a case: the student, used as the settings ask, and its baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from meddistill.base import console
from meddistill.base.errors import InputError
from meddistill.data.intensity import IntensitySettings
from meddistill.evaluation.baselines import STUDENT, Baselines, Guess
from meddistill.evaluation.components import clean_up
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.settings.evaluate import EvalConfig
from meddistill.student.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class AnsweredCase:
    """A case as it was read, image uint8 (H, W, 3) and truth bool (H, W) or None, with a guess a
    method, the student's first.

    `cleaned`: whether cleaning up changed the student's mask.
    """

    case: JudgedCase
    image: np.ndarray
    truth: np.ndarray | None
    guesses: Mapping[str, Guess]
    cleaned: bool


@dataclasses.dataclass(frozen=True)
class Methods:
    """The methods of one evaluation. `as_prepared`: as in `JudgedCases`."""

    predictor: Predictor
    baselines: Baselines
    config: EvalConfig
    as_prepared: bool

    @property
    def threshold(self) -> float:
        """Probability from which a pixel is lesion: the student's unless the settings give one."""
        asked = self.config.threshold
        return self.predictor.preprocessing.threshold if asked is None else asked

    @property
    def intensity(self) -> IntensitySettings | None:
        # What `prepare` made is read as it is; foreign pictures become what the student knows.
        return None if self.as_prepared else self.predictor.preprocessing.intensity

    def answer(self, cases: Sequence[JudgedCase], failures: list[str]) -> Iterator[AnsweredCase]:
        """Each readable case, read and answered when its turn comes; the others are named in
        `failures`."""
        for start in range(0, len(cases), self.config.batch_size):
            batch = []
            for case in cases[start : start + self.config.batch_size]:
                try:
                    batch.append((case, *case.read(self.intensity)))
                except InputError as error:
                    failures.append(str(error))
                    console.warn(str(error))
            probs = self._probs([image for _, image, _ in batch])
            for (case, image, truth), prob in zip(batch, probs, strict=True):
                mask, cleaned = self._mask(prob)
                student = Guess(mask, prob)
                guesses = {STUDENT: student, **self._others(case, image, student)}
                yield AnsweredCase(case, image, truth, guesses, cleaned)

    def _probs(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """The student's probabilities, those of the mirror image averaged in where asked."""
        probs = self.predictor.predict_probs(images)
        if not self.config.flip_average:
            return probs
        mirrored = self.predictor.predict_probs(
            [np.ascontiguousarray(image[:, ::-1]) for image in images]
        )
        return [(one + other[:, ::-1]) / 2 for one, other in zip(probs, mirrored, strict=True)]

    def _mask(self, probs: np.ndarray) -> tuple[np.ndarray, bool]:
        raw = probs >= np.float32(self.threshold)
        mask = clean_up(
            raw,
            min_component_px=self.config.min_component_px,
            keep_largest=self.config.keep_largest,
        )
        return mask, bool((mask != raw).any())

    def _others(self, case: JudgedCase, image: np.ndarray, student: Guess) -> dict[str, Guess]:
        size_hw = (image.shape[0], image.shape[1])
        baselines = self.baselines
        found = {method: guess_of(case, size_hw) for method, guess_of in baselines.guesses.items()}
        return found if baselines.asked is None else {**found, **baselines.asked(case, student)}
