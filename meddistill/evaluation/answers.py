"""What every method says of a case: the student, used as the settings ask, and its baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.findings import Findings, as_planes
from meddistill.data.grid import resampled_hw
from meddistill.data.intensity import IntensitySettings
from meddistill.evaluation.baselines import STUDENT, Baselines, Guess
from meddistill.evaluation.components import clean_up
from meddistill.evaluation.judged_cases import JudgedCase, JudgedCases
from meddistill.evaluation.neighbours import Neighbours
from meddistill.evaluation.self_told import SelfTold, of_data
from meddistill.settings.evaluate import EvalConfig
from meddistill.student.predictor import (
    Predictor,
    calibrated,
    doubts_of,
    knows_itself,
    look_at,
)
from meddistill.student.trust.reading import Reading


@dataclasses.dataclass(frozen=True)
class AnsweredCase:
    """A case as it was read, image uint8 (H, W, 3) and truth bool (C, H, W) or None, with a guess a
    method, the student's first.

    `places`: of the findings that are judged in it. `cleaned`: whether cleaning up changed the
    student's masks. `told`: what the student says of its own answer, where it knows itself.
    """

    case: JudgedCase
    image: np.ndarray
    truth: np.ndarray | None
    guesses: Mapping[str, Guess]
    places: Sequence[int]
    cleaned: bool
    told: SelfTold | None = None


@dataclasses.dataclass(frozen=True)
class Methods:
    """The methods of one evaluation.

    `findings`: those of the masks; `student_places`: where the student has each, None for one that
    it does not know; `judged`: whether each is judged; `neighbours`: of slices;
    `box_px`: as in `JudgedCases`.
    """

    predictor: Predictor
    baselines: Baselines
    config: EvalConfig
    as_prepared: bool
    findings: Findings
    student_places: tuple[int | None, ...]
    judged: tuple[bool, ...]
    neighbours: Neighbours
    box_px: int

    @classmethod
    def of(
        cls, predictor: Predictor, baselines: Baselines, config: EvalConfig, cases: JudgedCases
    ) -> Methods:
        """Raises: ConfigError for `eval.findings` that are none of the data's; InputError for a
        student that knows none of those that are asked for."""
        own = predictor.preprocessing.findings
        findings = cases.findings or own
        for name in config.findings:
            if name not in findings.names:
                raise ConfigError(
                    f"eval.findings names '{name}', which is none of {', '.join(findings.names)}"
                )
        places = _places(own, findings)
        judged = tuple(
            place is not None and (not config.findings or name in config.findings)
            for name, place in zip(findings.names, places, strict=True)
        )
        if not any(judged):
            raise InputError(
                f"the student finds {', '.join(own.names)}, and what is to be judged is "
                f"{', '.join(config.findings or findings.names)}: evaluate it on data of its own "
                "findings, or distill a student of these"
            )
        neighbours = Neighbours(cases.cases)
        prepared = cases.as_prepared
        return cls(
            *(predictor, baselines, config, prepared, findings, places, judged, neighbours),
            cases.box_px,
        )

    @property
    def unknown(self) -> list[str]:
        """Names of the findings that the student does not know."""
        pairs = zip(self.findings.names, self.student_places, strict=True)
        return [name for name, place in pairs if place is None]

    @property
    def cuts(self) -> tuple[float, ...]:
        """Probability from which a pixel is a finding, one a finding of the student: its own unless
        the settings give one for all."""
        stored = self.predictor.preprocessing
        asked = self.config.threshold
        return stored.cuts if asked is None else (asked,) * len(stored.findings)

    @property
    def threshold(self) -> float | dict[str, float]:
        """`cuts` by name; of one finding the number."""
        own = self.predictor.preprocessing.findings
        return self.cuts[0] if own.is_one else dict(zip(own.names, self.cuts, strict=True))

    @property
    def mirrors(self) -> bool:
        """Whether the mirror image is asked, too: where that is wished, and no name says a side."""
        own = self.predictor.preprocessing.findings
        return self.config.flip_average and not own.keeps_sides()[0]

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
                    read = case.read(self.intensity, self.findings)
                    self._check_spacing(case, read[0])
                    batch.append((case, *read))
                except InputError as error:
                    failures.append(str(error))
                    console.warn(str(error))
            seen = self._answered([(case, image) for case, image, _ in batch])
            for (case, image, truth), (prob, reading) in zip(batch, seen, strict=True):
                masks, cleaned = self._masks(prob)
                student = Guess(self._of_data(masks), self._of_data(prob))
                guesses = {STUDENT: student, **self._others(case, image, student)}
                told = self._told(self._on_grid(case, image), prob, reading)
                yield AnsweredCase(
                    case, image, truth, guesses, self._places(case, truth), cleaned, told
                )

    def _answered(
        self, cases: Sequence[tuple[JudgedCase, np.ndarray]]
    ) -> list[tuple[np.ndarray, Reading | None]]:
        """The student's probabilities (C, H, W) on the cases' own pixels, and what it says of them."""
        images = [self.seen(case, image) for case, image in cases]
        shown = [self._on_grid(case, image) for (case, _), image in zip(cases, images, strict=True)]
        seen = self._look(shown)
        grid = self.predictor.preprocessing.grid
        if grid is None:
            return seen
        sides = [case.spacing_hw_mm for case, _ in cases if case.spacing_hw_mm]
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        return [
            (grid.back(probs, size, side), reading)
            for (probs, reading), size, side in zip(seen, sizes, sides, strict=True)
        ]

    def _on_grid(self, case: JudgedCase, image: np.ndarray) -> np.ndarray:
        grid = self.predictor.preprocessing.grid
        if grid is None or case.spacing_hw_mm is None:
            return image
        return grid.put(image, case.spacing_hw_mm)

    def _check_spacing(self, case: JudgedCase, image: np.ndarray) -> None:
        """Raises: InputError for a case that a student with a grid cannot see."""
        grid = self.predictor.preprocessing.grid
        if grid is None:
            return
        if case.spacing_hw_mm is None:
            raise InputError(
                f"{case.name} has no pixel spacing, and this student sees pixels of "
                f"{grid.spacing_mm:g} mm: prepare a RUN of images that say how large their pixels are"
            )
        try:
            resampled_hw((image.shape[0], image.shape[1]), grid.spacing_mm, case.spacing_hw_mm)
        except InputError as error:
            raise InputError(f"{case.name}: {error}") from error

    def seen(self, case: JudgedCase, image: np.ndarray) -> np.ndarray:
        """What the student is shown of a case: its image, with its neighbours where it sees those."""
        context = self.predictor.preprocessing.context
        if not context:
            return image
        return self.neighbours.seen(case, image, context, self.intensity)

    def _places(self, case: JudgedCase, truth: np.ndarray | None) -> list[int]:
        """Of the findings that are judged and that somebody looked for in the case; or drew as mere
        specks: too small for a box they teach nothing, and are true all the same."""
        looked = list(case.looked_for) or [True] * len(self.findings)
        if truth is not None and not all(looked):
            looked = [was or self._is_speck(of) for was, of in zip(looked, truth, strict=True)]
        both = zip(self.judged, looked, strict=True)
        return [place for place, (judged, there) in enumerate(both) if judged and there]

    def _is_speck(self, mask: np.ndarray) -> bool:
        return bool(mask.any()) and not len(mask_to_boxes(mask, self.box_px))

    def _look(self, images: list[np.ndarray]) -> list[tuple[np.ndarray, Reading | None]]:
        """The student's probabilities (C, H, W), those of the mirror image averaged in where asked,
        and what it says of the image as it is."""
        seen = look_at(self.predictor, images) if knows_itself(self.predictor) else None
        probs = self.predictor.predict_probs(images) if seen is None else [of.probs for of in seen]
        probs = [as_planes(each) for each in probs]
        readings = [None] * len(probs) if seen is None else [of.reading for of in seen]
        if self.mirrors:
            mirrored = self.predictor.predict_probs(
                [np.ascontiguousarray(image[:, ::-1]) for image in images]
            )
            probs = [
                (one + as_planes(other)[..., ::-1]) / 2
                for one, other in zip(probs, mirrored, strict=True)
            ]
        return list(zip(probs, readings, strict=True))

    def _told(
        self, image: np.ndarray, probs: np.ndarray, reading: Reading | None
    ) -> SelfTold | None:
        if reading is None:
            return None
        if self.cuts != self.predictor.preprocessing.cuts:
            reading = reading.of_other_masks
        return SelfTold(
            of_data(reading, self.student_places),
            doubts_of(self.predictor, image),
            self._of_data(calibrated(self.predictor, probs)),
        )

    def _masks(self, probs: np.ndarray) -> tuple[np.ndarray, bool]:
        if self.config.threshold is not None:  # of what a person sees, as `predict --threshold`
            probs = calibrated(self.predictor, probs)
        raw = self.predictor.preprocessing.findings.masks(probs, self.cuts)
        masks = np.stack(
            [
                clean_up(
                    plane,
                    min_component_px=self.config.min_component_px,
                    keep_largest=self.config.keep_largest,
                )
                for plane in raw
            ]
        )
        return masks, bool((masks != raw).any())

    def _of_data(self, planes: np.ndarray) -> np.ndarray:
        """The student's planes in the order of the data's findings; nothing of one that it does not
        know."""
        if self.student_places == tuple(range(len(planes))):
            return planes
        nothing = np.zeros_like(planes[0])
        return np.stack(
            [nothing if place is None else planes[place] for place in self.student_places]
        )

    def _others(self, case: JudgedCase, image: np.ndarray, student: Guess) -> dict[str, Guess]:
        size_hw = (image.shape[0], image.shape[1])
        baselines = self.baselines
        found = {method: guess_of(case, size_hw) for method, guess_of in baselines.guesses.items()}
        return found if baselines.asked is None else {**found, **baselines.asked(case, student)}


def _places(student: Findings, data: Findings) -> tuple[int | None, ...]:
    if student.is_one and data.is_one:  # whatever either is called
        return (0,)
    return tuple(
        student.names.index(name) if name in student.names else None for name in data.names
    )
