"""Images that nobody boxed made to pay: heads on the teacher's map learn the boxed ones, propose on
the others, the teacher answers, and the heads learn from answers that agree with them.

All of it runs on encodings that are there, in seconds a round; the student is trained once, on what
is believed in the end. No mask has a part in it: what judges is cross-validation over boxed images.

Of several findings each has proposals, answers and beliefs of its own, wherever nobody looked for
it: an image that was boxed for one alone is an unboxed one for the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from meddistill.base import console
from meddistill.colearning.answers import Answer, Answers
from meddistill.colearning.beliefs import (
    HEAD,
    NOTHING,
    STUDENT,
    Belief,
    Beliefs,
    Calibration,
    OfCase,
    believe,
    doubted,
    settled,
)
from meddistill.colearning.cell_head import (
    CellHead,
    Cells,
    SomeCases,
    draw_cells,
    fit_head,
    head_maps,
)
from meddistill.colearning.colearning_row import (
    ColearningRow,
    asked_about,
    sureness_told,
    with_belief,
)
from meddistill.colearning.folds import group_folds
from meddistill.colearning.judging import Boxed, BoxedImages, Judged, nothing_judged
from meddistill.colearning.proposals import Proposal
from meddistill.colearning.questions import Questioned, half_of
from meddistill.colearning.watch import STUDENT_THRESHOLD, compare, tell_round, watch
from meddistill.data.findings import as_planes
from meddistill.data.views import AS_IT_IS, View
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case
from meddistill.settings.colearning import ColearningConfig
from meddistill.targets.encodings import EncodingStore
from meddistill.teachers.teacher import Encoded

_NEVER = 1.0
"""Threshold of a finding that no boxed image shows: nothing is proposed."""
JOINS_FROM = 0.8
"""Agreement from which an answer teaches the heads of the next round."""
MOST_JOINED = 1000
"""Most answers that teach the heads of the next round; each takes about 1 MB of memory."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the heads and the teacher settled. `beliefs`: of the last round. `rows`: all rounds.
    `head_dice`, `answer_dice`: as in `Judged`, of the first round's heads; None for a single boxed
    image. `calibrations`: by finding what sureness was worth there. `heads`, `thresholds`: of the
    last round. `questioned`: what else these images say; None for a single one."""

    beliefs: Beliefs
    rows: Sequence[ColearningRow]
    head_dice: float | None
    answer_dice: float | None
    calibrations: Sequence[Calibration]
    heads: Sequence[CellHead]
    thresholds: Sequence[float]
    questioned: Questioned | None = None


@dataclasses.dataclass(frozen=True)
class _Seen:
    """One unboxed image in one round."""

    case: Case
    beliefs: OfCase
    rows: Sequence[ColearningRow]
    cells: Cells | None = None


class UnboxedImages(BoxedImages):
    """The rounds over one data set, teacher and frame.

    `boxed`: cases with targets, at least one with a finding; `unboxed`: cases of the training split
    in which nobody looked for some finding that a boxed one shows; `views`: of each boxed image that
    heads learn from. Heads know nothing of another finding: of that nothing is proposed or believed.
    Raises: as `BoxedImages`.
    """

    def __init__(
        self,
        data: Dataset,
        boxed: Sequence[Boxed],
        unboxed: Sequence[Case],
        encodings: EncodingStore,
        answers: Answers,
        config: ColearningConfig,
        views: Sequence[View] = (AS_IT_IS,),
    ) -> None:
        super().__init__(data, boxed, encodings, answers)
        self.unboxed = unboxed
        self.config = config
        self.views = views
        self._targets = {each.case.case_id: each for each in boxed}
        self._shown = np.any([(each.planes > 0.5).any((1, 2)) for each in boxed], axis=0).tolist()

    def settle(self, seed: int) -> Outcome:
        """Do all rounds; the same seed gives the same outcome, interrupted or not."""
        console.say(
            f"co-learning: {len(self.boxed)} boxed and {len(self.unboxed)} unboxed images; a head "
            "on the teacher's map proposes, the teacher answers"
        )
        generator = torch.Generator().manual_seed(seed)
        boxed_cells = self._boxed_cells(generator)
        folds = group_folds([each.case.group for each in self.boxed], self.config.heads, seed)
        joined: Sequence[Cells] = ()
        rows: list[ColearningRow] = []
        judged = self._never_of_others(nothing_judged(len(self.findings)))
        questioned = None
        for number in range(1, self.config.rounds + 1):
            heads = self._fit(boxed_cells, folds, joined, seed + number)
            if number == 1 and max(folds) > 0:
                # Later heads have learnt from answers to images like these: no honest judge.
                judged = self._never_of_others(self.judge(heads, folds))
                halves = self._fit_halves(boxed_cells, folds, seed)
                questioned = self.question(heads, halves, folds, judged.thresholds)
            title = "encode unboxed" if number == 1 else ""
            seen, some = [], SomeCases(MOST_JOINED, seed + number)
            self.covering = 0
            for each in self._look(heads, judged, number, generator, title):
                if each.cells is not None:
                    some.add(each.cells)
                seen.append(dataclasses.replace(each, cells=None))
            rows += [row for each in seen for row in each.rows]
            joined = some.kept
            tell_round([row for each in seen for row in each.rows], self.covering)
            if number == 1 and self.encodings.dropped:
                who = f"distill.colearning.encodings_gb={self.config.encodings_gb:g}"
                if self.encodings.disk_is_full:
                    who = "the disk"
                console.say(
                    f"{who} has no room for all encodings: an image without one is encoded again "
                    "each time, which is slower and changes no result"
                )
        return Outcome(
            {each.case.case_id: each.beliefs for each in seen},
            rows,
            judged.head_dice,
            judged.answer_dice,
            judged.calibrations,
            heads,
            judged.thresholds,
            questioned,
        )

    def _never_of_others(self, judged: Judged) -> Judged:
        """Without a proposal of a finding that no boxed image shows."""
        both = zip(judged.thresholds, self._shown, strict=True)
        return dataclasses.replace(
            judged, thresholds=tuple(at if shown else _NEVER for at, shown in both)
        )

    def _boxed_cells(self, generator: torch.Generator) -> list[Cells]:
        """Of each boxed image, in all views."""
        drawn: list[list[Cells]] = [[] for _ in self.boxed]
        for number, view in enumerate(self.views, start=1):
            of_views = f"encode view {number} of {len(self.views)}"
            title = of_views if len(self.views) > 1 else "encode boxed"
            for place, encoded in self.boxed_encodings(title, view):
                each = self.boxed[place]
                planes = view.of_framed(each.planes, (each.case.height, each.case.width))
                target = torch.from_numpy(planes)
                drawn[place].append(draw_cells(encoded, target, generator, _weights(each)))
        return [Cells.join(parts) for parts in drawn]

    def _fit(
        self, boxed: Sequence[Cells], folds: Sequence[int], joined: Sequence[Cells], seed: int
    ) -> list[CellHead]:
        """A head a fold, each without the boxed cases of its fold; of one fold, a head of all."""
        heads = []
        for fold in _folds(folds, "fit heads"):
            parts = [
                cells
                for cells, of in zip(boxed, folds, strict=True)
                if of != fold or max(folds) == 0
            ]
            if joined:
                # Half of the loss is of boxed cells, however many answers there are.
                ours, theirs = Cells.join(parts), Cells.join(joined)
                scale = _sums(ours.weight) / _sums(theirs.weight).clamp(min=1e-12)
                theirs = dataclasses.replace(theirs, weight=theirs.weight * scale)
                parts = [ours, theirs]
            heads.append(fit_head(Cells.join(parts), self.config.head_steps, seed + 1000 * fold))
        return heads

    def _fit_halves(
        self, boxed: Sequence[Cells], folds: Sequence[int], seed: int
    ) -> list[CellHead]:
        """Heads that learn from half as many boxed images; none of folds that make no halves."""
        halves = []
        for fold in _folds(folds, "heads of half"):
            half = half_of(fold, folds)
            parts = [part for part, of in zip(boxed, folds, strict=True) if of in (half or ())]
            if parts:
                fitted = fit_head(Cells.join(parts), self.config.head_steps, seed + 1000 * fold)
                halves.append(fitted)
        return halves

    def _look(
        self,
        heads: Sequence[CellHead],
        judged: Judged,
        number: int,
        generator: torch.Generator,
        title: str,
    ) -> Iterator[_Seen]:
        """Every unboxed image once: the heads' mean maps, their proposals, answers, beliefs.

        Args:
            heads: of the round.
            judged: thresholds and calibrations.
            number: of the round.
            generator: draws the cells that teach the next one.
            title: of the progress bar.
        """
        last = number == self.config.rounds
        for case, encoded in self.encodings.of_cases(self.unboxed, self.data, title):
            maps = head_maps(heads, encoded, self.frame_size).mean(0).numpy()
            rows: list[ColearningRow] = []
            beliefs: list[Belief | None] = [None] * len(self.findings)
            joins = [0.0] * len(self.findings)
            for place, asked, row in self._asked(number, case, encoded, maps, judged):
                belief = believe(maps[place], asked, row.expected_dice or 0.0, HEAD)
                rows.append(with_belief(row, belief))
                beliefs[place] = belief
                if row.agreement is not None and row.agreement >= JOINS_FROM:
                    joins[place] = belief.weight
            of_case = self._settled(case, beliefs)
            cells = None
            if any(joins) and not last:
                target = np.stack([maps[0] * 0 if b is None else b.probs for b in of_case])
                cells = draw_cells(encoded, torch.from_numpy(target), generator, joins)
            yield _Seen(case, of_case, rows, cells)

    def ask_student(self, maps: Iterable[np.ndarray], before: Outcome) -> Outcome:
        """What is believed after the student has looked, too: `maps`, its (S, S) or (C, S, S)
        float32 of each unboxed image in their order, propose, the teacher answers, and of the two
        proposals that one is believed whose answer is the surer. Where the student sees nothing,
        the heads' belief moves towards its map as far as it was not trusted."""
        number = before.rows[-1].round + 1
        last = [row for row in before.rows if row.round == number - 1]
        known = {(row.case_id, row.finding): row for row in last}
        judged = Judged((STUDENT_THRESHOLD,) * len(self.findings), tuple(before.calibrations))
        seen = []
        self.covering = 0
        encodings = self.encodings.of_cases(self.unboxed, self.data)
        for (case, encoded), seen_by_it in zip(encodings, maps, strict=True):
            probs, beliefs = as_planes(seen_by_it), list(before.beliefs[case.case_id])
            alike = compare(before.heads, before.thresholds, encoded, probs)
            rows = []
            for place, asked, row in self._asked(number, case, encoded, probs, judged):
                belief, old = beliefs[place], known[row.case_id, row.finding]
                if belief is None or (
                    asked is not None and sureness_told(row) > sureness_told(old)
                ):
                    belief = believe(probs[place], asked, row.expected_dice or 0.0, STUDENT)
                else:
                    row = dataclasses.replace(old, round=number)
                    if asked is None and old.expected_dice is not None:
                        belief = doubted(belief, probs[place], old.expected_dice)
                beliefs[place] = belief
                row = dataclasses.replace(row, proposers_dice=alike[place])
                rows.append(with_belief(row, belief))
            seen.append(_Seen(case, self._settled(case, beliefs), rows))
        told = [row for each in seen for row in each.rows]
        tell_round(told, self.covering)
        watch(last, told)
        return dataclasses.replace(
            before,
            beliefs={each.case.case_id: each.beliefs for each in seen},
            rows=[*before.rows, *told],
        )

    def _asked(
        self, number: int, case: Case, encoded: Encoded, maps: np.ndarray, judged: Judged
    ) -> Iterator[tuple[int, tuple[Proposal, Answer] | None, ColearningRow]]:
        """Of each finding that nobody looked for in the case, and a boxed one shows, its place, what
        its map proposes with the answer, and the row of it before anything is believed.

        Args:
            number: of the round.
            case: an unboxed one.
            encoded: its image.
            maps: (C, S, S) float32 in [0, 1].
            judged: thresholds and calibrations.
        """
        for place, name in enumerate(self.findings.names):
            if case.looked_for(name) or not self._shown[place]:
                continue
            asked = self.ask(case, encoded, maps[place], judged.thresholds[place])
            row = ColearningRow(
                number, case.case_id, NOTHING, 0.0, finding=self.findings.tag(place)
            )
            if asked is not None:
                boxes = asked[0].boxes_xyxy_px / self.scale(case)
                row = asked_about(row, boxes, *asked, judged.calibrations[place])
            yield place, asked, row

    def _settled(self, case: Case, beliefs: Sequence[Belief | None]) -> OfCase:
        target = self._targets.get(case.case_id)
        return settled(tuple(beliefs), None if target is None else target.planes, self.findings)


def _folds(folds: Sequence[int], title: str) -> Iterator[int]:
    """The number of each fold, under a progress bar: a head takes seconds to minutes."""
    count = max(folds) + 1
    return console.track(range(count), title, count)


def _weights(boxed: Boxed) -> list[float]:
    return [float(known) for known in boxed.known]


def _sums(weights: Tensor) -> Tensor:
    """Of each column (N, C)."""
    return torch.stack([of_one.sum() for of_one in weights.T.contiguous()])
