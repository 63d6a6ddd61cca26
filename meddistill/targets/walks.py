"""A teacher's walk through a stack of slices: boxes on the first, followed by its memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case
from meddistill.teachers.teacher import BoxMasks, Encoded, Memory, Teacher, Track, encode_in_memory


class Walk:
    """`slices`: the boxed one, then those to come, in their order. One at a time is looked at, and a
    slice only once it is asked about, or one beyond it.

    Slices whose targets are there need not be asked about: the walk sees them on its way.
    """

    def __init__(
        self, teacher: Teacher, memory: Memory, dataset: Dataset, slices: Sequence[Case]
    ) -> None:
        self.boxed = slices[0]
        self._teacher = teacher
        self._memory = memory
        self._dataset = dataset
        self._slices = slices
        self._places = {case.case_id: place for place, case in enumerate(slices)}
        self._track: Track | None = None
        self._seen = 0

    def before(self, case: Case) -> Sequence[Case]:
        """The slices from the boxed one up to `case`, which what is said of it depends on."""
        return self._slices[: self._places[case.case_id]]

    def reply(self, case: Case, encoded: Encoded, boxes_xyxy_px: np.ndarray) -> BoxMasks:
        """What the boxes hold on a slice.

        Args:
            case: the slice.
            encoded: its image, a batch of one.
            boxes_xyxy_px: (N, 4) px of the boxed slice, the same in every call.
        """
        before = self.before(case)
        if self._track is None or self._seen > len(before):
            self._track, self._seen = self._memory.begin(boxes_xyxy_px), 0
        for missed in before[self._seen :]:
            image = self._dataset.image(missed)
            self._track.see(encode_in_memory(self._teacher, [image]))
        self._seen = len(before) + 1
        return self._track.see(encoded)
