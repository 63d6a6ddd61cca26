"""What validation says of one finding: the student's masks beside the teacher's targets, and what the
boxes show of the teacher's own error."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from meddistill.data.boxes import fill_boxes, grow_boxes, mask_to_boxes
from meddistill.run.dataset import Dataset
from meddistill.run.labels import annotated_findings
from meddistill.run.tables import Case
from meddistill.student.student import Student
from meddistill.training.packed_cases import Batch, PackedCases

_BATCH = 16


@dataclasses.dataclass(frozen=True)
class SomeCases:
    """Those of `whole` at `places` (N,) int64, drawn as from a set of their own."""

    whole: PackedCases
    places: Tensor

    @property
    def case_ids(self) -> list[str]:
        return [self.whole.case_ids[place] for place in self.places.tolist()]

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, index: Tensor) -> Batch:
        return self.whole.batch(self.places[index])


Targets = PackedCases | SomeCases


def at_most(targets: Targets, most: int) -> Targets:
    """As many cases evenly over the set, in which those of a group stand together."""
    count = len(targets)
    if count <= most or isinstance(targets, SomeCases):
        return targets
    return SomeCases(targets, torch.arange(most) * count // most)


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What validation says of one finding. Of V cases with a target: `target` (V, S, S) in [0, 1],
    `known` (V,) whether it says anything, `dice` (V,) of the student's mask with it, `truth` (V,)
    the target's own Dice as far as the boxes show it, `inside` (V, S, S) the boxes that people drew,
    grown, `absent` (V,) whether somebody looked and found none; `logits` (V, S, S) are the student's."""

    cut: float
    logits: Tensor
    target: np.ndarray
    known: np.ndarray
    dice: np.ndarray
    truth: np.ndarray
    inside: np.ndarray
    absent: np.ndarray
    groups: Sequence[str]


def lesson_of(
    student: Student, dataset: Dataset, targets: Targets, place: int, logits: Tensor
) -> Lesson:
    """What the validation cases say of the finding at `place`.

    Args:
        student: whose answers they are.
        dataset: where the boxes lie.
        targets: of the validation cases.
        place: of the finding.
        logits: (N, C, S, S) of the student, those of the validation cases first.
    """
    count, size = len(targets), student.preprocessing.image_size
    cut = student.preprocessing.cuts[place]
    target = np.zeros((count, size, size), np.float32)
    known = np.zeros(count, bool)
    for start in range(0, count, _BATCH):
        batch = targets.batch(torch.arange(start, min(start + _BATCH, count)))
        target[start : start + _BATCH] = batch.probs[:, place].cpu().numpy()
        known[start : start + _BATCH] = batch.known[:, place].cpu().numpy() > 0
    probs = torch.sigmoid(logits[:count, place]).numpy()
    masks, theirs = probs >= cut, target >= 0.5
    total = masks.sum((1, 2)) + theirs.sum((1, 2))
    dice = np.where(total > 0, 2 * (masks & theirs).sum((1, 2)) / np.maximum(total, 1), 1.0)
    truth, inside, absent = np.ones(count), np.zeros_like(theirs), np.zeros(count, bool)
    name = student.preprocessing.findings.names[place]
    for index, case_id in enumerate(targets.case_ids):
        case = dataset.by_id[case_id]
        boxes = _boxes_in_frame(dataset, case, place, size)
        inside[index] = fill_boxes(grow_boxes(boxes), (size, size))
        truth[index] = box_dice(theirs[index], boxes)
        absent[index] = not len(boxes) and case.looked_for(name)
    groups = [dataset.by_id[case_id].group for case_id in targets.case_ids]
    return Lesson(cut, logits[:count, place], target, known, dice, truth, inside, absent, groups)


def with_truth(dice: np.ndarray, targets_own: np.ndarray) -> np.ndarray:
    """Dice with the truth, in [0, 1], of masks whose Dice with the target is `dice` and whose target's own is
    `targets_own`, both (N,).

    The product where both err apart from each other, the lower of the two where what the teacher
    gets wrong was learnt from it: the geometric mean of the product and `dice`, as a student does a
    part of each (measured: .github/docs/trust.md).
    """
    return np.asarray(dice * np.sqrt(targets_own))


def _boxes_in_frame(dataset: Dataset, case: Case, place: int, size: int) -> np.ndarray:
    boxes, which = annotated_findings(dataset.directory, case)
    return np.asarray(boxes[which == place] * (size / max(case.width, case.height)))


def box_dice(mask: np.ndarray, boxes_xyxy_px: np.ndarray) -> float:
    """Dice, in [0, 1], of a mask's own boxes, filled, with those given: what boxes show of the
    mask's error. 1 without any box given: they say nothing."""
    if not len(boxes_xyxy_px):
        return 1.0
    theirs = fill_boxes(boxes_xyxy_px, (mask.shape[0], mask.shape[1]))
    own = fill_boxes(mask_to_boxes(mask), (mask.shape[0], mask.shape[1]))
    total = int(own.sum() + theirs.sum())
    return 2 * int((own & theirs).sum()) / total if total else 1.0
