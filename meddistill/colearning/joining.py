"""Unboxed images join the boxed ones: what is believed of them is settled, kept, and packed to be
drawn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meddistill.base import console
from meddistill.base.console import track
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError
from meddistill.base.hashing import chance
from meddistill.colearning.answers import Answers
from meddistill.colearning.belief_files import load_beliefs, read_beliefs, save_beliefs
from meddistill.colearning.beliefs import TRUST_POWER, OfCase, loss_weights, pixel_weights
from meddistill.colearning.colearning_row import ColearningRow
from meddistill.colearning.head_files import Heads, load_heads, save_heads
from meddistill.colearning.judging import Boxed
from meddistill.colearning.questions import save_questioned
from meddistill.colearning.sheet import write_sheet
from meddistill.colearning.unboxed import Outcome, UnboxedImages
from meddistill.data.views import View, some_views
from meddistill.run.dataset import Dataset
from meddistill.run.few_boxes import unboxed_cases
from meddistill.run.findings import read_findings
from meddistill.run.layout import (
    BELIEFS_AGAIN_NPZ,
    BELIEFS_NPZ,
    COLEARNING_CSV,
    COLEARNING_PNG,
    ENCODINGS,
)
from meddistill.run.tables import Case, QualityRow
from meddistill.settings.distill import DistillConfig
from meddistill.settings.flips import sides_kept
from meddistill.targets.asking import logit_shift
from meddistill.targets.cache import TargetFolders
from meddistill.targets.encodings import EncodingStore
from meddistill.targets.packing import Packing, case_target, teaches
from meddistill.teachers.teacher import Teacher
from meddistill.training.packed_cases import CaseTarget, PackedCases

_SEEN_AT_ONCE = 16


@dataclasses.dataclass(frozen=True)
class Colearning:
    """One co-learning: whose images, by which settings, with encodings and answers below
    `teacher_dir`, and what was believed in `out`."""

    dataset: Dataset
    config: DistillConfig
    teacher_dir: Path
    out: Path
    seed: int

    @property
    def is_settled(self) -> bool:
        """Whether all is written that `settle` writes, so that it needs no teacher."""
        return (self.out / BELIEFS_NPZ).exists() and (self.out / COLEARNING_PNG).exists()

    @property
    def has_asked_student(self) -> bool:
        """Whether all is written that `ask_student` writes."""
        return (self.out / BELIEFS_AGAIN_NPZ).exists()

    def settle(self, teacher: Teacher, rows: Sequence[QualityRow], folders: TargetFolders) -> None:
        """Settle what is believed of each unboxed case, and write it; nothing where it is there.

        `rows`: of quality.csv, whose targets the heads learn from. Raises: InputError where no
        boxed training case has a target with a lesion, or no training case is unboxed.
        """
        if not (self.out / BELIEFS_NPZ).exists():
            outcome = self.images(teacher, rows, folders).settle(self.seed)
            console.say(_told(outcome))
            save_heads(self.out, outcome.heads, outcome.thresholds)
            if outcome.questioned is not None:
                save_questioned(self.out, outcome.questioned)
            save_beliefs(self.out, outcome)
        if not (self.out / COLEARNING_PNG).exists():
            told = read_table(self.out / COLEARNING_CSV, ColearningRow)
            write_sheet(self.out / COLEARNING_PNG, told, load_beliefs(self.out), self.dataset)

    def share_encodings(
        self, teacher: Teacher, rows: Sequence[QualityRow], part: tuple[int, int]
    ) -> None:
        """Encode the k-th of n shares, `part`, of the images that `settle` looks at, so that no
        process waits while one shows the teacher all of them; nothing where all is settled.

        `rows`: of quality.csv, of which the training cases that teach are boxed.
        """
        if (self.out / BELIEFS_NPZ).exists() or not self.config.colearning.encodings_gb:
            return
        ids = dict.fromkeys(row.case_id for row in rows if row.split == "train" and teaches(row))
        boxed = [self.dataset.by_id[case_id] for case_id in ids]
        store = self._encodings(teacher)
        for view in self._views(len(boxed)):
            store.fill(boxed, self.dataset, part, view)
        store.fill(self._unboxed(rows), self.dataset, part)

    def _unboxed(self, rows: Sequence[QualityRow]) -> list[Case]:
        """Those of the training cases in which nobody looked for some finding that boxes teach that
        training has time for, in their order."""
        cases = self._all_unboxed(rows)
        if (self.out / BELIEFS_NPZ).exists():
            # An earlier version looked at all.
            beliefs, _ = read_beliefs(self.out / BELIEFS_NPZ)
            return [case for case in cases if case.case_id in beliefs]
        drawn = self.config.colearning.most_unboxed(self.config.batch_size)
        by_chance = sorted(cases, key=lambda case: chance(f"unboxed|{case.case_id}"))
        among = {case.case_id for case in by_chance[:drawn]}
        return [case for case in cases if case.case_id in among]

    def _all_unboxed(self, rows: Sequence[QualityRow]) -> list[Case]:
        findings = read_findings(self.dataset.directory)
        boxed = {
            row.finding for row in rows if row.split == "train" and row.n_boxes and teaches(row)
        }
        names = [name for name in findings.names if findings.is_one or name in boxed]
        return unboxed_cases(self.dataset.cases, names)

    def _views(self, boxed: int) -> Sequence[View]:
        """Of each of so many boxed images that heads learn from."""
        findings = read_findings(self.dataset.directory)
        count = self.config.colearning.views_of_each(boxed)
        return some_views(count, sides_kept(self.config.flips, findings.keeps_sides()))

    def _encodings(self, teacher: Teacher) -> EncodingStore:
        budget_gb = self.config.colearning.encodings_gb
        return EncodingStore(self.teacher_dir / ENCODINGS, teacher, budget_gb)

    def ask_student(
        self,
        images: UnboxedImages,
        see: Callable[[Tensor], Tensor],
        cases: PackedCases,
    ) -> None:
        """Settle anew what is believed of each unboxed case, now that there is a student to ask,
        and write it; nothing where it is there.

        Args:
            images: as `images` gives them.
            see: what the student makes of frames (B, 3, S, S) in [0, 255]: (B, C, S, S).
            cases: the set that `join` gave.
        """
        if self.has_asked_student:
            return
        beliefs, calibrations = read_beliefs(self.out / BELIEFS_NPZ)
        rows = read_table(self.out / COLEARNING_CSV, ColearningRow)
        rows = [row for row in rows if row.round <= self.config.colearning.rounds]
        # Lost or damaged ones cost the comparison with the student, and no training.
        heads = load_heads(self.out) or Heads((), ())
        known = (calibrations, heads.heads, heads.thresholds)
        first = Outcome(beliefs, rows, None, None, *known)
        outcome = images.ask_student(_maps(see, cases, list(beliefs)), first)
        write_sheet(self.out / COLEARNING_PNG, outcome.rows, outcome.beliefs, self.dataset)
        save_beliefs(self.out, outcome, BELIEFS_AGAIN_NPZ)

    def teach_anew(self, cases: PackedCases) -> None:
        """Give the set that `join` gave what is believed now."""
        beliefs = load_beliefs(self.out)
        weights = loss_weights(beliefs)
        for index, case_id in enumerate(cases.case_ids):
            if case_id in beliefs:
                self._teach(cases, index, beliefs[case_id], weights[case_id])

    def _teach(
        self, cases: PackedCases, index: int, beliefs: OfCase, weights: Sequence[float]
    ) -> None:
        """What is believed of the case at `index`; what is known of it stays."""
        places = [place for place, belief in enumerate(beliefs) if belief is not None]
        cases.teach_anew(index, _target(beliefs, weights), places)

    def images(
        self, teacher: Teacher, rows: Sequence[QualityRow], folders: TargetFolders
    ) -> UnboxedImages:
        """The unboxed images with all that is asked about them. Raises: as `settle`."""
        boxed = self._boxed(rows, folders)
        unboxed = self._unboxed(rows)
        if left := len(self._all_unboxed(rows)) - len(unboxed):
            steps = self.config.colearning.steps
            console.say(
                f"{len(unboxed)} unboxed images, drawn by chance, are looked at; {left} more are not, "
                f"as distill.colearning.steps={steps} would show each less than twice"
            )
        if not unboxed:
            raise InputError(
                "co-learning is on, but every training case was looked at: set "
                "distill.colearning.unboxed=detected"
            )
        encodings = self._encodings(teacher)
        shift = logit_shift(teacher, self.config.targets)
        answers = Answers(self.teacher_dir / "answers", teacher, self.config.image_size, shift)
        return UnboxedImages(
            self.dataset,
            boxed,
            unboxed,
            encodings,
            answers,
            self.config.colearning,
            self._views(len(boxed)),
        )

    def join(self, boxed: PackedCases) -> PackedCases:
        """The boxed cases, and after them the unboxed ones with what was believed of them before any
        student was asked (training that begins anew begins with that); in boxed ones what was
        believed of findings that nobody looked for there."""
        beliefs, _ = read_beliefs(self.out / BELIEFS_NPZ)
        weights = loss_weights(beliefs)
        place_of = {case_id: index for index, case_id in enumerate(boxed.case_ids)}
        others = [case_id for case_id in beliefs if case_id not in place_of]
        context = self.config.context
        believed = PackedCases(
            others,
            self.config.image_size,
            findings=boxed.findings,
            channels=2 * context + 1 if context else 3,
        )
        for index, case_id in enumerate(track(others, "load beliefs", len(others))):
            target = _target(beliefs[case_id], weights[case_id])
            believed.put(index, self.dataset.seen(self.dataset.by_id[case_id], context), target)
        partly = {case_id: place_of[case_id] for case_id in beliefs if case_id in place_of}
        taught = [
            (index, place)
            for case_id, index in partly.items()
            for place, belief in enumerate(beliefs[case_id])
            if belief is not None
        ]
        joined = PackedCases.joined(boxed, believed, taught)
        for case_id, index in partly.items():
            self._teach(joined, index, beliefs[case_id], weights[case_id])
        return joined

    def _boxed(self, rows: Sequence[QualityRow], folders: TargetFolders) -> list[Boxed]:
        findings = read_findings(self.dataset.directory)
        packing = Packing(self.dataset, folders, self.config.image_size, findings)
        of_case: dict[str, list[QualityRow]] = {}
        for row in rows:
            if row.split == "train" and teaches(row):
                of_case.setdefault(row.case_id, []).append(row)
        boxed = []
        asked = {row.case_id for row in rows if row.split == "train" and row.n_boxes}
        for case_id, each in of_case.items():
            target, *_ = case_target(each, packing)
            known = (np.ones(1) if findings.is_one else np.asarray(target.weight)) > 0
            boxed.append(Boxed(self.dataset.by_id[case_id], target.probs, tuple(known.tolist())))
        if not any((each.probs > 0.5).any() for each in boxed):
            why = "no training image has a box: box some, or give a detector's boxes with --boxes FILE"
            if asked:
                why = (
                    f"the teacher's masks of all {len(asked)} boxed training images are empty or do "
                    "not fit their boxes (quality.csv says by how much): look at the boxes, or take "
                    "another --teacher"
                )
            raise InputError(f"there is nothing for the heads to learn from: {why}")
        return boxed


def _maps(
    see: Callable[[Tensor], Tensor], cases: PackedCases, unboxed: Sequence[str]
) -> Iterator[np.ndarray]:
    """The student's (C, S, S) float32 of each unboxed case of a joined set, in the order given."""
    place_of = {case_id: index for index, case_id in enumerate(cases.case_ids)}
    places = torch.tensor([place_of[case_id] for case_id in unboxed])
    for some in torch.split(places, _SEEN_AT_ONCE):
        yield from see(cases.batch(some).images).float().cpu().numpy()


def _target(beliefs: OfCase, weights: Sequence[float]) -> CaseTarget:
    """What a case teaches of findings that nobody looked for. Its doubt is what is missing from the
    Dice that is expected of it, and a pixel's uncertainty the variance of being lesion with its
    probability: so weightings see guessed targets as what they are. A finding without a belief is
    empty, with a weight of 0."""
    some = next(belief.probs for belief in beliefs if belief is not None)
    probs = np.stack([np.zeros_like(some) if each is None else each.probs for each in beliefs])
    doubts = [0.0 if each is None else 1 - each.weight ** (1 / TRUST_POWER) for each in beliefs]
    return CaseTarget(
        probs,
        probs * (1 - probs),
        published_v=np.array([float(plane.var()) for plane in probs]),
        doubt=np.array(doubts),
        weight=np.array(weights),
        pixel_weight=pixel_weights(probs),
    )


def _told(outcome: Outcome) -> str:
    if outcome.head_dice is None or outcome.answer_dice is None:
        return "one group of boxed images alone: nothing was there to judge the heads by"
    return (
        "on boxed images that they did not see, the heads' masks have a Dice of "
        f"{outcome.head_dice:.2f} with the targets, the teacher's answers to their boxes "
        f"{outcome.answer_dice:.2f}"
    )
