"""The cases of a RUN as stages, targets and training see them: images, annotated boxes, splits.

There is no way to a mask from here; evaluation has a reader of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.formats.pictures import read_rgb
from meddistill.run.images import image_path
from meddistill.run.labels import annotated_boxes
from meddistill.run.tables import Case, read_cases


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
        """The case's image, uint8 RGB (H, W, 3). Raises: InputError where it cannot be read or has
        another size than its row."""
        path = self.image_path(case)
        image = read_rgb(path)
        if image.shape[:2] != (case.height, case.width):
            raise InputError(
                f"{path} is {image.shape[1]}x{image.shape[0]} px, cases.csv says "
                f"{case.width}x{case.height}; run `meddistill prepare` again"
            )
        return image

    def boxes(self, case: Case) -> np.ndarray:
        """The boxes (N, 4) float32 px that people (or masks) gave for the case; (0, 4) for none."""
        return annotated_boxes(self.directory, case)
