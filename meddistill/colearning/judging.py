"""Boxed images, the only judges where masks are none: what heads, and the teacher's answers to their
boxes, are worth on those that a head did not see."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from meddistill.colearning.answers import Answer, Answers
from meddistill.colearning.beliefs import Calibration, calibrate, dice, sureness
from meddistill.colearning.cell_head import CellHead, head_maps
from meddistill.colearning.proposals import LEAST_SHARE, NO_BOX, Proposal, propose
from meddistill.colearning.questions import Questioned
from meddistill.data.boxes import match_overlaps
from meddistill.data.findings import as_planes
from meddistill.data.frames import scaled_hw
from meddistill.data.views import AS_IT_IS, View
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_findings
from meddistill.run.tables import Case
from meddistill.targets.encodings import EncodingStore
from meddistill.teachers.teacher import Encoded

_COVERS = 0.9
"""Share of the image from which an answer is none, if the boxes were less than half of the image."""
_SIDES = np.array([[-1, 0], [0, -1], [1, 0], [0, 1]], np.float32)
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5)


@dataclasses.dataclass(frozen=True)
class Boxed:
    """A boxed case (or one that was looked at and is empty) with its target float32, (S, S) or of
    several findings (C, S, S), and of each whether it is known."""

    case: Case
    probs: np.ndarray
    known: tuple[bool, ...] = (True,)

    @property
    def planes(self) -> np.ndarray:
        """(C, S, S)."""
        return as_planes(self.probs)


@dataclasses.dataclass(frozen=True)
class Judged:
    """By finding the probability from which the heads' map shows it, and what sureness of an answer
    was worth. `head_dice`, `answer_dice`: mean Dice with the targets, the mean over findings; None
    where nothing judges."""

    thresholds: tuple[float, ...]
    calibrations: tuple[Calibration, ...]
    head_dice: float | None = None
    answer_dice: float | None = None


def nothing_judged(findings: int) -> Judged:
    """What is assumed where a single group was boxed."""
    return Judged((0.5,) * findings, (calibrate(np.zeros(0), np.zeros(0)),) * findings)


class BoxedImages:
    """The boxed images of one data set, teacher and frame. `boxed`: at least one with a finding.
    Raises: as `EncodingStore` and the teacher."""

    def __init__(
        self, data: Dataset, boxed: Sequence[Boxed], encodings: EncodingStore, answers: Answers
    ) -> None:
        self.data = data
        self.findings = read_findings(data.directory)
        self.boxed = boxed
        self.encodings = encodings
        self.answers = answers
        self.frame_size = answers.frame_size
        self.covering = 0
        """How many answers covered the whole image and were taken for none."""

    def boxed_encodings(
        self, title: str = "", view: View = AS_IT_IS
    ) -> Iterator[tuple[int, Encoded]]:
        """Place and encoding of each boxed image."""
        cases = [each.case for each in self.boxed]
        found = self.encodings.of_cases(cases, self.data, title, view)
        for place, (_, encoded) in enumerate(found):
            yield place, encoded

    def judge(self, heads: Sequence[CellHead], folds: Sequence[int]) -> Judged:
        """Thresholds and calibrations by boxed images, each judged by the head that did not see
        it."""
        maps = [
            head_maps([heads[folds[place]]], encoded, self.frame_size)[0].numpy()
            for place, encoded in self.boxed_encodings()
        ]
        targets = [each.planes > 0.5 for each in self.boxed]
        thresholds, head_dice = [], []
        shows: list[list[int]] = []
        for finding in range(len(self.findings)):
            shows.append([i for i, of in enumerate(targets) if of[finding].any()])
            means = {
                threshold: float(
                    np.mean(
                        [dice(maps[i][finding] > threshold, targets[i][finding]) for i in shows[-1]]
                    )
                )
                for threshold in THRESHOLDS
                if shows[-1]
            }
            best = max(means, key=lambda each: (round(means[each], 4), each), default=0.5)
            thresholds.append(best)
            head_dice += [means[best]] if means else []
        sure: list[list[float]] = [[] for _ in self.findings.names]
        worth: list[list[float]] = [[] for _ in self.findings.names]
        for place, encoded in self.boxed_encodings():
            each = self.boxed[place]
            for finding in np.flatnonzero(each.known).tolist():
                asked = self.ask(each.case, encoded, maps[place][finding], thresholds[finding])
                if asked is not None:
                    sure[finding].append(sureness(*asked))
                    worth[finding].append(dice(asked[1].probs > 0.5, targets[place][finding]))
                elif place in shows[finding]:
                    worth[finding].append(0.0)
                    sure[finding].append(0.0)
        calibrations = (
            calibrate(np.array(x), np.array(y)) for x, y in zip(sure, worth, strict=True)
        )
        answer_dice = [float(np.mean(each)) for each in worth if each]
        return Judged(
            tuple(thresholds),
            tuple(calibrations),
            float(np.mean(head_dice)),
            float(np.mean(answer_dice)),
        )

    def question(
        self,
        heads: Sequence[CellHead],
        halves: Sequence[CellHead],
        folds: Sequence[int],
        thresholds: Sequence[float],
    ) -> Questioned:
        """What the heads, and others that learn from half as many boxed images, are worth on those
        that they did not see. Changes nothing else.

        Args:
            heads: one a fold.
            halves: likewise, or fewer, and then nothing is said of them.
            folds: of each boxed image.
            thresholds: of each finding.
        """
        scores, of_half, overlaps = [], [], []
        judges: set[int] = set()
        for place, encoded in self.boxed_encodings():
            targets = self.boxed[place].planes > 0.5
            if not targets.any():
                continue
            judges.add(place)
            maps = head_maps([heads[folds[place]]], encoded, self.frame_size)[0].numpy()
            half = None
            if len(halves) == len(heads):
                half = head_maps([halves[folds[place]]], encoded, self.frame_size)[0].numpy()
            for finding in np.flatnonzero(targets.any((1, 2))).tolist():
                threshold = thresholds[finding]
                scores.append(dice(maps[finding] > threshold, targets[finding]))
                overlaps.append(self._overlaps(place, finding, maps[finding], threshold))
                if half is not None:
                    of_half.append(dice(half[finding] > threshold, targets[finding]))
        every = np.concatenate(overlaps)
        return Questioned(
            dice=round(float(np.mean(scores)), 4),
            box_iou=round(float(every.mean()), 4) if len(every) else 0.0,
            half_dice=round(float(np.mean(of_half)), 4) if of_half else None,
            n_boxed=len(judges),
            n_groups=len({each.case.group or each.case.case_id for each in self.boxed}),
        )

    def _overlaps(
        self, place: int, finding: int, probs: np.ndarray, threshold: float
    ) -> np.ndarray:
        """IoU of what a map proposes with each annotated box of the finding."""
        case = self.boxed[place].case
        annotated, which = annotated_findings(self.data.directory, case)
        if not self.findings.is_one:
            annotated = annotated[which == finding]
        found = propose(probs, threshold, LEAST_SHARE * self.frame_size**2)
        boxes = NO_BOX if found is None else found.boxes_xyxy_px / self.scale(case)
        return match_overlaps(boxes, annotated)

    def ask(
        self, case: Case, encoded: Encoded, probs: np.ndarray, threshold: float
    ) -> tuple[Proposal, Answer] | None:
        """What a map (S, S) of a finding proposes, and what the teacher answers; None where it
        proposes nothing, or the answer covers the image all the same."""
        proposal = propose(probs, threshold, LEAST_SHARE * self.frame_size**2)
        if proposal is None:
            return None
        boxes = proposal.boxes_xyxy_px / self.scale(case)
        answer = self.answers.to_boxes(case, encoded, boxes)
        height, width = scaled_hw((case.height, case.width), self.frame_size)
        covers = np.count_nonzero(answer.probs > 0.5) > _COVERS * height * width
        asked_for = float((proposal.boxes_xyxy_px @ _SIDES).prod(axis=1).sum())
        if covers and asked_for < height * width / 2:
            self.covering += 1
            return None
        return proposal, answer

    def scale(self, case: Case) -> np.ndarray:
        """Frame px a px of the image, for x1, y1, x2, y2."""
        height, width = scaled_hw((case.height, case.width), self.frame_size)
        return np.array([width / case.width, height / case.height] * 2, np.float32)
