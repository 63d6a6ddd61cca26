"""Boxes proposed while one labels: small heads on the teacher's encoder map, trained anew in seconds
after every few boxes.

The heads are those of few boxes (`colearning.cell_head`): no student is needed, and what they learn
from are the teacher's masks of the boxes that people drew. A proposal is shown and never taken for
a box unseen.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from meddistill.colearning.answers import Answers
from meddistill.colearning.beliefs import dice, sureness
from meddistill.colearning.cell_head import CellHead, Cells, draw_cells, fit_head, head_maps, raster
from meddistill.colearning.folds import group_folds
from meddistill.colearning.judging import THRESHOLDS
from meddistill.colearning.proposals import LEAST_SHARE, Proposal, propose
from meddistill.data.frames import scaled_hw
from meddistill.labelling.labelled import Labelled, Proposed
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case
from meddistill.targets.encodings import EncodingStore
from meddistill.teachers.teacher import Encoded, Teacher

FIRST_AT, AGAIN_AFTER = 5, 5
"""Boxed images before the first heads, and new ones before they are trained anew."""
FRAME_SIZE = 256
_FOLDS, _STEPS = 3, 150
_MOST_IMAGES = 200
_MOST_EMPTY_SHARE = 0.5
"""Images without the finding, of those with a box."""


@dataclasses.dataclass(frozen=True)
class _Learnt:
    """The heads of a finding, and the threshold at which their maps fit the teacher's masks best;
    `dice` there, on boxed images that they did not see."""

    heads: Sequence[CellHead]
    threshold: float
    dice: float | None


class Proposer:
    """Heads over the images of `data`; the teacher's answers are kept below `folder`
    (RUN/teacher)."""

    def __init__(self, data: Dataset, folder: Path, teacher: Teacher) -> None:
        self.data = data
        self.learnt_from = 0
        """Boxed images behind the heads; 0: none yet."""
        self._answers = Answers(folder / "answers", teacher, FRAME_SIZE, teacher.logit_shift)
        self._learnt: dict[str, _Learnt] = {}
        self._cells: dict[str, tuple[Cells, np.ndarray]] = {}

    @property
    def dice(self) -> float | None:
        """Mean over findings of how well the heads' maps fit; None where that is not known."""
        known = [each.dice for each in self._learnt.values() if each.dice is not None]
        return float(np.mean(known)) if known else None

    def is_due(self, labelled: Sequence[Labelled]) -> bool:
        """Whether enough images were boxed since the heads were trained."""
        boxed = _boxed(labelled)
        return boxed >= FIRST_AT and boxed >= self.learnt_from + AGAIN_AFTER

    def learn(self, labelled: Sequence[Labelled], encodings: EncodingStore) -> None:
        """Train the heads of every finding that was boxed on at least two images.

        Raises: InputError for an image that cannot be read.
        """
        boxed = _boxed(labelled)
        learnt: dict[str, _Learnt] = {}
        for finding in sorted({name for each in labelled for name in each.boxes}):
            chosen = _choose(labelled, finding)
            if sum(len(each.boxes[finding]) > 0 for each in chosen) >= 2:
                learnt[finding] = self._learn_one(chosen, finding, encodings)
        self._learnt, self.learnt_from = learnt, boxed

    def propose(self, case: Case, encoded: Encoded) -> list[Proposed]:
        """Boxes on an image, of every finding that the heads know, the surest first."""
        found = []
        for finding, (_, proposal) in self.look(encoded).items():
            if proposal is None:
                continue
            for box in _in_image(proposal, case):
                x1, y1, x2, y2 = (round(float(side), 1) for side in box)
                found.append(Proposed((x1, y1, x2, y2), finding, proposal.confidence))
        return sorted(found, key=lambda each: -each.confidence)

    def look(self, encoded: Encoded) -> dict[str, tuple[np.ndarray, Proposal | None]]:
        """What the heads see of every finding that they know: their mean map (S, S) float32 in
        [0, 1], and what it proposes; None for nothing."""
        seen = {}
        for finding, learnt in self._learnt.items():
            probs = head_maps(learnt.heads, encoded, FRAME_SIZE).mean(0)[0].numpy()
            seen[finding] = probs, propose(probs, learnt.threshold, LEAST_SHARE * FRAME_SIZE**2)
        return seen

    def doubt(self, case: Case, encoded: Encoded) -> float:
        """How unsure heads and teacher are of an image, in [0, 1]: 1 less the `sureness` of the
        finding that they are least sure of; where nothing is proposed, 1. 1 before there are
        heads."""
        least = 1.0
        for _, proposal in self.look(encoded).values():
            if proposal is None:
                return 1.0
            answer = self._answers.ask(encoded, _in_image(proposal, case))
            least = min(least, sureness(proposal, answer))
        return 1.0 - least if self._learnt else 1.0

    def _learn_one(
        self, chosen: Sequence[Labelled], finding: str, encodings: EncodingStore
    ) -> _Learnt:
        parts = [self._cells_of(each, finding, encodings) for each in chosen]
        folds = group_folds([each.case.group for each in chosen], _FOLDS, seed=0)
        count = max(folds) + 1
        heads = []
        for fold in range(count):
            # Of one group alone there is nothing to leave out: its head learns from all.
            kept = [cells for (cells, _), of in zip(parts, folds, strict=True) if of != fold]
            every = [cells for cells, _ in parts]
            heads.append(fit_head(Cells.join(kept or every), _STEPS, seed=fold))
        if count == 1:
            return _Learnt(heads, 0.5, None)
        scores = dict.fromkeys(THRESHOLDS, 0.0)
        boxed = 0
        for each, fold, (_, target) in zip(chosen, folds, parts, strict=True):
            if target.any():
                boxed += 1
                encoded = _encoding(encodings, each.case, self.data)
                map_ = head_maps([heads[fold]], encoded, FRAME_SIZE)[0, 0].numpy()
                for threshold in THRESHOLDS:
                    scores[threshold] += dice(map_ > threshold, target)
        best = max(THRESHOLDS, key=lambda each: (round(scores[each], 4), each))
        return _Learnt(heads, best, scores[best] / boxed if boxed else None)

    def _cells_of(
        self, each: Labelled, finding: str, encodings: EncodingStore
    ) -> tuple[Cells, np.ndarray]:
        """Cells to learn from and the teacher's mask bool (S, S); kept, as most boxes stay."""
        boxes = each.boxes[finding]
        key = f"{each.case.case_id} {finding} {boxes.tolist()}"
        if key not in self._cells:
            encoded = _encoding(encodings, each.case, self.data)
            probs = np.zeros((FRAME_SIZE, FRAME_SIZE), np.float32)
            if len(boxes):
                probs = self._answers.to_boxes(each.case, encoded, boxes).probs
            generator = torch.Generator().manual_seed(0)
            cells = draw_cells(encoded, torch.from_numpy(probs)[None], generator)
            self._cells[key] = (cells, probs > 0.5)
            while len(self._cells) > 2 * _MOST_IMAGES:
                del self._cells[next(iter(self._cells))]
        return self._cells[key]


def feature_of(encoded: Encoded) -> np.ndarray:
    """What an image looks like to the teacher, (2 C,) float32: mean and deviation of each channel
    of its map over the cells that see the image."""
    features, inside = raster(encoded, FRAME_SIZE)
    deviation, mean = torch.std_mean(features[inside], dim=0)
    return torch.cat([mean, deviation]).numpy()


def _boxed(labelled: Sequence[Labelled]) -> int:
    return sum(any(len(boxes) for boxes in each.boxes.values()) for each in labelled)


def _choose(labelled: Sequence[Labelled], finding: str) -> list[Labelled]:
    """At most so many boxed images, drawn by their names, and half as many and one more in which somebody
    found nothing."""
    known = [each for each in labelled if finding in each.boxes]
    known.sort(key=lambda each: hashlib.sha256(each.case.case_id.encode()).digest())
    boxed = [each for each in known if len(each.boxes[finding])][:_MOST_IMAGES]
    empty = [each for each in known if not len(each.boxes[finding])]
    return boxed + empty[: int(len(boxed) * _MOST_EMPTY_SHARE) + 1]


def _encoding(encodings: EncodingStore, case: Case, data: Dataset) -> Encoded:
    return next(iter(encodings.of_cases([case], data)))[1]


def _in_image(proposal: Proposal, case: Case) -> np.ndarray:
    """Its boxes (N, 4) float32 in px of the image."""
    limits = np.array([case.width, case.height] * 2, np.float32)
    return np.minimum(proposal.boxes_xyxy_px / _scale(case), limits)


def _scale(case: Case) -> np.ndarray:
    """Frame px a px of the image, for x1, y1, x2, y2."""
    height, width = scaled_hw((case.height, case.width), FRAME_SIZE)
    return np.array([width / case.width, height / case.height] * 2, np.float32)
