"""Images that nobody boxed made to pay: heads on the teacher's map learn the boxed ones, propose on
the others, the teacher answers, and the heads learn from answers that agree with them.

All of it runs on encodings that are there, in seconds a round; the student is trained once, on what
is believed in the end. No mask has a part in it: what judges is cross-validation over boxed images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from meddistill.base import console
from meddistill.colearning.answers import Answer, Answers
from meddistill.colearning.beliefs import (
    HEAD,
    NOTHING,
    STUDENT,
    Belief,
    Calibration,
    believe,
    calibrate,
    dice,
    doubted,
    sureness,
)
from meddistill.colearning.cell_head import CellHead, Cells, draw_cells, fit_head, head_maps
from meddistill.colearning.folds import group_folds
from meddistill.colearning.proposals import Proposal, propose
from meddistill.colearning.questions import Questioned, half_of
from meddistill.data.boxes import match_overlaps
from meddistill.data.frames import scaled_hw
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case
from meddistill.settings.colearning import ColearningConfig
from meddistill.targets.encodings import EncodingStore
from meddistill.teachers.teacher import Encoded

JOINS_FROM = 0.8
"""Agreement from which an answer teaches the heads of the next round."""
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5)
STUDENT_THRESHOLD = 0.5
NO_BOX = np.zeros((0, 4), np.float32)
LEAST_SHARE = 0.0005
"""Share of the frame below which a component is no proposal."""


@dataclasses.dataclass(frozen=True)
class Boxed:
    """A boxed case (or one that was looked at and is empty) with its target (S, S) float32."""

    case: Case
    probs: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True)
class ColearningRow:
    """What was asked and believed of one unboxed case in one round: a row of colearning.csv.

    `round` counts from 1. The box `x1` to `y2` is around all proposed boxes, in px of the image,
    half-open; empty where nothing was proposed. `confidence`: mean probability inside the proposal;
    `predicted_iou`: the teacher's estimate of its answer; `agreement`: Dice of answer and proposal;
    `expected_dice`: what such an answer was worth on boxed images. All in [0, 1]. `believed`: whose
    proposal, `head`, `student` or `nothing`; `weight`: of the case in the student's loss.
    """

    round: int
    case_id: str
    believed: str
    weight: float
    n_boxes: int = 0
    x1: float | None = None
    y1: float | None = None
    x2: float | None = None
    y2: float | None = None
    confidence: float | None = None
    predicted_iou: float | None = None
    agreement: float | None = None
    expected_dice: float | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the heads and the teacher settled. `beliefs`: by case id, of the last round. `rows`: all
    rounds. `head_dice`, `answer_dice`: mean Dice with the targets of boxed images that the first
    round's heads did not see; None for a single boxed image. `calibration`: what sureness was worth
    there. `heads`, `threshold`: of the last round. `questioned`: what else these images say; None
    for a single one."""

    beliefs: Mapping[str, Belief]
    rows: Sequence[ColearningRow]
    head_dice: float | None
    answer_dice: float | None
    calibration: Calibration
    heads: Sequence[CellHead]
    threshold: float
    questioned: Questioned | None = None


@dataclasses.dataclass(frozen=True)
class _Seen:
    """One unboxed image in one round."""

    case: Case
    belief: Belief
    row: ColearningRow
    cells: Cells | None


class UnboxedImages:
    """The rounds over one data set, teacher and frame.

    `boxed`: cases with targets, at least one with a lesion; `unboxed`: cases of the training split
    that nobody looked at. Raises: as `EncodingStore` and the teacher.
    """

    def __init__(
        self,
        data: Dataset,
        boxed: Sequence[Boxed],
        unboxed: Sequence[Case],
        encodings: EncodingStore,
        answers: Answers,
        config: ColearningConfig,
    ) -> None:
        self.data = data
        self.boxed = boxed
        self.unboxed = unboxed
        self.encodings = encodings
        self.answers = answers
        self.config = config
        self.frame_size = answers.frame_size

    def settle(self, seed: int) -> Outcome:
        """Do all rounds; the same seed gives the same outcome, interrupted or not."""
        console.say(
            f"co-learning: {len(self.boxed)} boxed and {len(self.unboxed)} unboxed images; a head "
            "on the teacher's map proposes, the teacher answers"
        )
        generator = torch.Generator().manual_seed(seed)
        boxed_cells = [
            draw_cells(encoded, torch.from_numpy(self.boxed[place].probs), generator)
            for place, encoded in self._boxed_encodings("encode boxed")
        ]
        folds = group_folds([each.case.group for each in self.boxed], self.config.heads, seed)
        joined: list[Cells] = []
        rows: list[ColearningRow] = []
        threshold, calibration = 0.5, calibrate(np.zeros(0), np.zeros(0))
        judged: tuple[float | None, float | None] = (None, None)
        questioned = None
        for number in range(1, self.config.rounds + 1):
            heads = self._fit(boxed_cells, folds, joined, seed + number)
            if number == 1 and max(folds) > 0:
                # Later heads have learnt from answers to images like these: no honest judge.
                threshold, calibration, judged = self._judge(heads, folds)
                questioned = self._question(boxed_cells, heads, folds, threshold, seed)
            seen = list(self._look(heads, threshold, calibration, number, generator))
            rows += [each.row for each in seen]
            joined = [each.cells for each in seen if each.cells is not None]
            console.say(_told(number, seen))
        beliefs = {each.case.case_id: each.belief for each in seen}
        return Outcome(beliefs, rows, *judged, calibration, heads, threshold, questioned)

    def _boxed_encodings(self, title: str = "") -> Iterator[tuple[int, Encoded]]:
        cases = [each.case for each in self.boxed]
        for place, (_, encoded) in enumerate(self.encodings.of_cases(cases, self.data, title)):
            yield place, encoded

    def _fit(
        self, boxed: Sequence[Cells], folds: Sequence[int], joined: Sequence[Cells], seed: int
    ) -> list[CellHead]:
        """A head a fold, each without the boxed cases of its fold; of one fold, a head of all."""
        heads = []
        for fold in range(max(folds) + 1):
            parts = [
                cells
                for cells, of in zip(boxed, folds, strict=True)
                if of != fold or max(folds) == 0
            ]
            if joined:
                # Half of the loss is of boxed cells, however many answers there are.
                ours, theirs = Cells.join(parts), Cells.join(joined)
                scale = float(ours.weight.sum() / theirs.weight.sum())
                theirs = dataclasses.replace(theirs, weight=theirs.weight * scale)
                parts = [ours, theirs]
            heads.append(fit_head(Cells.join(parts), self.config.head_steps, seed + 1000 * fold))
        return heads

    def _judge(
        self, heads: Sequence[CellHead], folds: Sequence[int]
    ) -> tuple[float, Calibration, tuple[float, float]]:
        """Threshold and calibration by boxed images, each judged by the head that did not see it;
        and the mean Dice of heads and of answers there."""
        maps = [
            head_maps([heads[folds[place]]], encoded, self.frame_size)[0].numpy()
            for place, encoded in self._boxed_encodings()
        ]
        targets = [each.probs > 0.5 for each in self.boxed]
        lesion = [place for place, target in enumerate(targets) if target.any()]
        means = {
            threshold: float(np.mean([dice(maps[i] > threshold, targets[i]) for i in lesion]))
            for threshold in THRESHOLDS
        }
        threshold = max(THRESHOLDS, key=lambda each: (round(means[each], 4), each))
        sure, worth = [], []
        for place, encoded in self._boxed_encodings():
            asked = self._ask(self.boxed[place].case, encoded, maps[place], threshold)
            if asked is not None:
                sure.append(sureness(*asked))
                worth.append(dice(asked[1].probs > 0.5, targets[place]))
            elif place in lesion:
                worth.append(0.0)
                sure.append(0.0)
        calibration = calibrate(np.array(sure), np.array(worth))
        return threshold, calibration, (means[threshold], float(np.mean(worth)))

    def _question(
        self,
        cells: Sequence[Cells],
        heads: Sequence[CellHead],
        folds: Sequence[int],
        threshold: float,
        seed: int,
    ) -> Questioned:
        """What the heads, and others that learn from half as many boxed images, are worth on those
        that they did not see. Changes nothing else."""
        halves = []
        for fold in range(len(heads)):
            half = half_of(fold, folds)
            parts = [part for part, of in zip(cells, folds, strict=True) if of in (half or ())]
            if parts:
                fitted = fit_head(Cells.join(parts), self.config.head_steps, seed + 1000 * fold)
                halves.append(fitted)
        scores, of_half, overlaps = [], [], []
        for place, encoded in self._boxed_encodings():
            boxed = self.boxed[place]
            target, annotated = boxed.probs > 0.5, self.data.boxes(boxed.case)
            if not target.any():
                continue
            probs = head_maps([heads[folds[place]]], encoded, self.frame_size)[0].numpy()
            scores.append(dice(probs > threshold, target))
            found = propose(probs, threshold, LEAST_SHARE * self.frame_size**2)
            boxes = NO_BOX if found is None else found.boxes_xyxy_px / self._scale(boxed.case)
            overlaps.append(match_overlaps(boxes, annotated))
            if len(halves) == len(heads):
                probs = head_maps([halves[folds[place]]], encoded, self.frame_size)[0].numpy()
                of_half.append(dice(probs > threshold, target))
        every = np.concatenate(overlaps)
        return Questioned(
            dice=round(float(np.mean(scores)), 4),
            box_iou=round(float(every.mean()), 4) if len(every) else 0.0,
            half_dice=round(float(np.mean(of_half)), 4) if of_half else None,
            n_boxed=len(scores),
            n_groups=len({each.case.group or each.case.case_id for each in self.boxed}),
        )

    def _look(
        self,
        heads: Sequence[CellHead],
        threshold: float,
        calibration: Calibration,
        number: int,
        generator: torch.Generator,
    ) -> Iterator[_Seen]:
        """Every unboxed image once: the heads' mean map, its proposal, the answer, the belief."""
        title = "encode unboxed" if number == 1 else ""
        last = number == self.config.rounds
        for case, encoded in self.encodings.of_cases(self.unboxed, self.data, title):
            probs = head_maps(heads, encoded, self.frame_size).mean(0).numpy()
            asked = self._ask(case, encoded, probs, threshold)
            row = self._row(number, case, asked, calibration)
            belief = believe(probs, asked, row.expected_dice or 0.0, HEAD)
            row = dataclasses.replace(row, believed=belief.source, weight=round(belief.weight, 4))
            cells = None
            if row.agreement is not None and row.agreement >= JOINS_FROM and not last:
                target = torch.from_numpy(belief.probs)
                cells = draw_cells(encoded, target, generator, belief.weight)
            yield _Seen(case, belief, row, cells)

    def ask_student(self, maps: Iterable[np.ndarray], settled: Outcome) -> Outcome:
        """What is believed after the student has looked, too: `maps`, its (S, S) float32 of each
        unboxed image in their order, propose, the teacher answers, and of the two proposals that
        one is believed whose answer is the surer. Where the student sees nothing, the heads'
        belief moves towards its map as far as it was not trusted."""
        number = settled.rows[-1].round + 1
        before = {row.case_id: row for row in settled.rows if row.round == number - 1}
        seen = []
        encodings = self.encodings.of_cases(self.unboxed, self.data)
        for (case, encoded), probs in zip(encodings, maps, strict=True):
            asked = self._ask(case, encoded, probs, STUDENT_THRESHOLD)
            row = self._row(number, case, asked, settled.calibration)
            belief, known = settled.beliefs[case.case_id], before[case.case_id]
            if asked is not None and _sureness(row) > _sureness(known):
                belief = believe(probs, asked, row.expected_dice or 0.0, STUDENT)
            else:
                row = dataclasses.replace(known, round=number)
                if asked is None and known.expected_dice is not None:
                    belief = doubted(belief, probs, known.expected_dice)
            row = dataclasses.replace(row, believed=belief.source, weight=round(belief.weight, 4))
            seen.append(_Seen(case, belief, row, None))
        console.say(_told(number, seen))
        beliefs = {each.case.case_id: each.belief for each in seen}
        rows = [*settled.rows, *(each.row for each in seen)]
        return dataclasses.replace(settled, beliefs=beliefs, rows=rows)

    def _ask(
        self, case: Case, encoded: Encoded, probs: np.ndarray, threshold: float
    ) -> tuple[Proposal, Answer] | None:
        proposal = propose(probs, threshold, LEAST_SHARE * self.frame_size**2)
        if proposal is None:
            return None
        boxes = proposal.boxes_xyxy_px / self._scale(case)
        return proposal, self.answers.to_boxes(case, encoded, boxes)

    def _scale(self, case: Case) -> np.ndarray:
        """Frame px a px of the image, for x1, y1, x2, y2."""
        height, width = scaled_hw((case.height, case.width), self.frame_size)
        return np.array([width / case.width, height / case.height] * 2, np.float32)

    def _row(
        self,
        number: int,
        case: Case,
        asked: tuple[Proposal, Answer] | None,
        calibration: Calibration,
    ) -> ColearningRow:
        """What was asked, before anything is believed."""
        row = ColearningRow(round=number, case_id=case.case_id, believed=NOTHING, weight=0.0)
        if asked is None:
            return row
        proposal, answer = asked
        boxes = proposal.boxes_xyxy_px / self._scale(case)
        x1, y1 = (round(float(side), 2) for side in boxes[:, :2].min(0))
        x2, y2 = (round(float(side), 2) for side in boxes[:, 2:].max(0))
        return dataclasses.replace(
            row,
            n_boxes=len(boxes),
            x1=x1,
            y1=y1,
            x2=x2,
            y2=y2,
            confidence=round(proposal.confidence, 4),
            predicted_iou=round(answer.predicted_iou, 4),
            agreement=round(dice(answer.probs > 0.5, proposal.mask), 4),
            expected_dice=round(calibration(sureness(proposal, answer)), 4),
        )


def _sureness(row: ColearningRow) -> float:
    """Of the answer that a row tells of; -1 where nothing was proposed."""
    if row.confidence is None or row.predicted_iou is None:
        return -1.0
    return row.confidence * row.predicted_iou


def _told(number: int, seen: Sequence[_Seen]) -> str:
    rows = [each.row for each in seen if each.row.believed != NOTHING]
    expected = [row.expected_dice for row in rows if row.expected_dice is not None]
    mean = f", expected Dice {np.mean(expected):.2f}" if expected else ""
    theirs = sum(row.believed == STUDENT for row in rows)
    whose = f" ({theirs} of the student)" if theirs else ""
    return (
        f"round {number}: proposals{whose} answered on {len(rows)} of {len(seen)} unboxed images"
        f"{mean}; nothing proposed on {len(seen) - len(rows)}"
    )
