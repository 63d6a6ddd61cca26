"""The cases of a RUN as stages, targets and training see them: images, annotated boxes, splits.

There is no way to a mask from here; evaluation has a reader of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.context import alone, among, grey
from meddistill.data.formats.pictures import read_as_stored, read_rgb
from meddistill.run.images import check_as_prepared, image_path
from meddistill.run.labels import annotated_boxes
from meddistill.run.tables import Case, read_cases
from meddistill.run.volumes import stacks


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Prepared data: the folder (RUN/data) and its cases, in the order of cases.csv."""

    directory: Path
    cases: Sequence[Case]

    @classmethod
    def open(cls, directory: Path) -> Dataset:
        """The data that `meddistill prepare` left in `directory`. Raises: as `read_cases`."""
        return cls(directory, read_cases(directory))

    def __len__(self) -> int:
        return len(self.cases)

    @cached_property
    def by_id(self) -> dict[str, Case]:
        return {case.case_id: case for case in self.cases}

    def of_split(self, *splits: str) -> list[Case]:
        """The cases of the splits named (`train`, `val`, `test`), in their order."""
        return [case for case in self.cases if case.split in splits]

    def image_path(self, case: Case) -> Path:
        return image_path(self.directory, case)

    def image(self, case: Case) -> np.ndarray:
        """The case's image, uint8 RGB (H, W, 3). Raises: InputError where it cannot be read or is
        another than `prepare` wrote."""
        return self._read(case, read_rgb)

    def _read(self, case: Case, read: Callable[[Path], np.ndarray]) -> np.ndarray:
        path = self.image_path(case)
        image = read(path)
        if image.shape[:2] != (case.height, case.width):
            raise InputError(
                f"{path} is {image.shape[1]}x{image.shape[0]} px, cases.csv says "
                f"{case.width}x{case.height}; run `meddistill prepare` again"
            )
        check_as_prepared(path, case.sha256)
        return image

    def seen(self, case: Case, context: int) -> np.ndarray:
        """What a student with `context` sees of a case: its image, or uint8 (H, W, 2 context + 1), the
        slice with its neighbours (`data.context`). Raises: as `image`."""
        if not context:
            return self.image(case)
        stack = self._stacks.get(case.volume, []) if case.slice is not None else []
        if not stack:
            return alone(self.image(case), context)
        place = self._places[case.case_id]
        first, stop = max(0, place - context), min(len(stack), place + context + 1)
        if self._numbered_apart(stack[first:stop]):
            return alone(self.image(case), context)
        slices = [self._grey(each.case_id) for each in stack[first:stop]]
        return among(slices, place - first, context)

    @cached_property
    def _stacks(self) -> Mapping[str, list[Case]]:
        return stacks(self.cases)

    @cached_property
    def _places(self) -> Mapping[str, int]:
        """Of each slice its place in its stack."""
        stacked = self._stacks.values()
        return {case.case_id: place for stack in stacked for place, case in enumerate(stack)}

    @staticmethod
    def _numbered_apart(slices: Sequence[Case]) -> bool:
        """Whether a slice between the first and the last is missing: what is next is no neighbour."""
        numbers = [case.slice or 0 for case in slices]
        return numbers[-1] - numbers[0] != len(numbers) - 1

    @cached_property
    def _grey(self) -> Callable[[str], np.ndarray]:
        # Slices are asked for in their order: each is then read once, not for each neighbour.
        return lru_cache(maxsize=32)(
            lambda case_id: grey(self._read(self.by_id[case_id], read_as_stored))
        )

    def boxes(self, case: Case) -> np.ndarray:
        """The boxes (N, 4) float32 px that people (or masks) gave for the case; (0, 4) for none."""
        return annotated_boxes(self.directory, case)
