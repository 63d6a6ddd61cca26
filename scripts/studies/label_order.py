"""Which image to label next, and what proposals save: a person who labels is played.

Needs a prepared RUN with masks: its training cases are labelled, its test cases judge. Takes a
minute or two a cell on one core once the images are encoded, which takes two seconds each.

    .venv/bin/python scripts/studies/label_order.py runs/brain --orders random,diverse,mix

A cell is one order and one draw. As in `meddistill label`, the heads learn from the teacher's masks
of what is boxed, and the order chooses the next image by what they doubt, asked after every tenth
box. The person draws boxes whose sides are off by at most five percent; in the first draw of
`random` also accepts what is proposed where it overlaps the true boxes by more than .85, the heads
learning after every fifth box, on a hundred images. At 20 and 40 boxed images the heads' masks on
the judged cases, and what the teacher answers to the boxes that they propose, are compared with the
true masks. Every cell adds OUT/RUN-ORDER-DRAW.json as it ends, and what is there is not run again.
`label_order_table.py` prints their table.
"""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import numpy as np
import torch
import typer
from _cells import Stopwatch, circumstances, one_line_errors

from meddistill.base.console import say
from meddistill.base.errors import ConfigError, InputError, nearest
from meddistill.base.files import write_json
from meddistill.colearning.answers import Answers
from meddistill.colearning.beliefs import dice
from meddistill.data.boxes import mask_to_boxes, match_overlaps
from meddistill.data.frames import to_frame
from meddistill.data.masks import read_mask
from meddistill.labelling.labelled import Labelled
from meddistill.labelling.orders import CANDIDATES, DOUBTED, DOUBTING, ORDERS, Known, candidates
from meddistill.labelling.proposer import FRAME_SIZE, Proposer, feature_of
from meddistill.run.dataset import Dataset
from meddistill.run.layout import RunDir
from meddistill.run.tables import Case
from meddistill.run.true_masks import mask_path
from meddistill.targets.encodings import EncodingStore
from meddistill.teachers.loading import load_teacher
from meddistill.teachers.teacher import Encoded, Teacher

FINDING = "lesion"
AT_BOXES = (20, 40)
ASKED_EVERY = 10
"""Boxed images after which the heads say again what they doubt; the page asks every five."""
USER_IMAGES = 100
"""Images that the person of the first `random` cell looks at, however many boxes that gives."""
DRAWN_OFF = 0.05
ACCEPTED_FROM = 0.85
LEAST_BOX_PX = 3
LOOKS, POINTS, CLICKS, KEY = 1.35, 1.1, 0.1, 0.28
"""Seconds of the keystroke-level model (Card, Moran and Newell 1980): to look and decide, to point,
to press or let go, to press a key."""
DRAWS_S = 2 * (POINTS + CLICKS)
"""Seconds to drag a box."""
FEATURING = ("diverse", *DOUBTING)
POOL = CANDIDATES + 2 * max(AT_BOXES)
"""Images that the teacher has seen, of which the order chooses."""


@dataclasses.dataclass
class Pace:
    """What a person's work came to: images looked at, those without a lesion, boxes drawn and boxes
    accepted as they were proposed, and seconds by the keystroke-level model."""

    images: int = 0
    empty: int = 0
    drawn: int = 0
    accepted: int = 0
    seconds: float = 0.0
    seconds_alone: float = 0.0

    def add(self, boxes: int, accepted: bool) -> None:
        """One more image; `seconds_alone` is what it takes without proposals."""
        self.images += 1
        self.empty += not boxes
        by_hand = boxes * DRAWS_S + KEY
        self.seconds_alone += LOOKS + by_hand
        if accepted:
            self.accepted += boxes
            self.seconds += LOOKS + KEY
        else:
            self.drawn += boxes
            self.seconds += LOOKS + by_hand


class Study:
    """One RUN whose training cases are labelled over and over. `judged`: at most so many test cases
    judge. `teacher`: one to use instead of LiteMedSAM."""

    def __init__(self, run: RunDir, out: Path, judged: int, teacher: Teacher | None = None) -> None:
        self.run = run
        self.out = out
        self.data = Dataset.open(run.data)
        self.teacher = teacher or load_teacher("litemedsam", device=torch.device("cpu"))
        self.encodings = EncodingStore(run.teacher / "encodings", self.teacher, 1e3)
        self.answers = Answers(
            run.teacher / "answers", self.teacher, FRAME_SIZE, self.teacher.logit_shift
        )
        self.judged = _drawn([case for case in self.data.cases if case.split == "test"], judged)
        if not self.judged or not all(case.has_mask for case in self.data.cases):
            raise InputError(f"{run.data}: expected test cases, and a mask of every case")
        self._features: dict[str, np.ndarray] = {}

    def play(self, order: str, draw: int) -> None:
        """One cell; its file is there afterwards."""
        path = self.out / f"{self.run.root.name}-{order}-{draw}.json"
        if path.exists():
            return
        watch = Stopwatch()
        labelled: list[Labelled] = []
        proposer = Proposer(self.data, self.run.teacher, self.teacher)
        pace, told, doubts = Pace(), {}, {}
        rng = np.random.default_rng(draw)
        left = [case for case in self.data.cases if case.split == "train"]
        boxed, paced = 0, order == "random" and not draw
        while left and (boxed < max(AT_BOXES) or (paced and pace.images < USER_IMAGES)):
            known = self._known(order, left, labelled, doubts, draw)
            case = ORDERS[order](left, known)[0]
            left.remove(case)
            true = self._true_boxes(case)
            pace.add(len(true), paced and self._accepts(proposer, case, true))
            labelled.append(Labelled(case, {FINDING: _off(true, case, rng)}))
            boxed += len(true) > 0
            asked_again = len(true) > 0 and boxed % ASKED_EVERY == 0
            doubting = asked_again and order in DOUBTING and boxed < max(AT_BOXES)
            judging = asked_again and boxed in AT_BOXES
            if doubting or judging or (paced and proposer.is_due(labelled)):
                proposer.learn(labelled, self.encodings)
            if doubting:
                doubts = self._doubts(proposer, left, known)
            if judging:
                told[str(boxed)] = self._judge(proposer) | {"images": pace.images}
                say(f"{order} {draw}: {boxed} boxed, {told[str(boxed)]['heads']:.3f}")
        cell = {
            "run": self.run.root.name,
            "order": order,
            "draw": draw,
            "boxes": told,
            "pace": dataclasses.asdict(pace),
            "cases": [case.case_id for case in self.judged],
            "lesion_groups": [
                case.group or case.case_id for case in self.judged if self._truth(case).any()
            ],
            "seconds": watch.seconds(),
            **circumstances(),
        }
        write_json(path, cell)

    def _known(
        self,
        order: str,
        left: Sequence[Case],
        labelled: Sequence[Labelled],
        doubts: dict[str, float],
        draw: int,
    ) -> Known:
        if order not in FEATURING:
            return Known(seed=draw)
        training = [case for case in self.data.cases if case.split == "train"]
        pool = ORDERS["random"](training, Known(seed=draw))[:POOL]
        new = [case for case in pool if case.case_id not in self._features]
        for case, encoded in self.encodings.of_cases(new, self.data, "encode"):
            self._features[case.case_id] = feature_of(encoded)
        seen = {case.case_id: self._features[case.case_id] for case in pool}
        return Known(seen, doubts, [each.case.case_id for each in labelled], draw)

    def _doubts(self, proposer: Proposer, left: Sequence[Case], known: Known) -> dict[str, float]:
        return {
            case.case_id: proposer.doubt(case, encoded)
            for case, encoded in self._encoded(candidates(left, known, DOUBTED))
        }

    def _accepts(self, proposer: Proposer, case: Case, true: np.ndarray) -> bool:
        if not proposer.learnt_from:
            return False
        (_, encoded), *_ = self._encoded([case])
        found = np.array([each.xyxy for each in proposer.propose(case, encoded)], np.float32)
        overlaps = match_overlaps(found.reshape(-1, 4), true)
        return len(found) == len(true) and bool((overlaps > ACCEPTED_FROM).all())

    def _judge(self, proposer: Proposer) -> dict[str, Any]:
        """Dice of each judged case with a lesion, and false alarms on the others."""
        heads, answers, alarms = [], [], []
        for case, encoded in self._encoded(self.judged):
            _, proposal = proposer.look(encoded)[FINDING]
            truth = self._truth(case)
            mask = np.zeros_like(truth) if proposal is None else proposal.mask
            if not truth.any():
                alarms.append(bool(mask.any()))
                continue
            heads.append(round(dice(mask, truth), 4))
            found = [each.xyxy for each in proposer.propose(case, encoded)]
            answered = np.zeros_like(truth)
            if found:
                boxes = np.array(found, np.float32)
                answered = self.answers.to_boxes(case, encoded, boxes).probs > 0.5
            answers.append(round(dice(answered, truth), 4))
        return {
            "heads": round(statistics.mean(heads), 4),
            "answers": round(statistics.mean(answers), 4),
            "heads_dice": heads,
            "answers_dice": answers,
            "false_alarms": [sum(alarms), len(alarms)],
        }

    def _encoded(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Encoded]]:
        yield from self.encodings.of_cases(cases, self.data)

    def _truth(self, case: Case) -> np.ndarray:
        mask = torch.from_numpy(read_mask(mask_path(self.run.data, case)))
        return to_frame(mask[None, None].float(), FRAME_SIZE)[0, 0].numpy() > 0.5

    def _true_boxes(self, case: Case) -> np.ndarray:
        boxes = mask_to_boxes(read_mask(mask_path(self.run.data, case)) > 0)
        sides = boxes[:, 2:] - boxes[:, :2]
        return boxes[(sides >= LEAST_BOX_PX).all(1)]


def _drawn(cases: Sequence[Case], count: int) -> list[Case]:
    """At most so many, by their names."""
    by_chance = sorted(cases, key=lambda case: hashlib.sha256(case.case_id.encode()).digest())
    return sorted(by_chance[:count], key=lambda case: case.case_id)


def _off(boxes: np.ndarray, case: Case, rng: np.random.Generator) -> np.ndarray:
    """As a hand draws them: each side off by at most `DRAWN_OFF` of the box."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + rng.uniform(-DRAWN_OFF, DRAWN_OFF, boxes.shape) * sides
    limits = np.array([case.width, case.height] * 2)
    return np.clip(moved, 0, limits).astype(np.float32)


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    run: Annotated[Path, typer.Argument(help="The RUN, prepared, with masks.")],
    orders: Annotated[str, typer.Option(help="Which orders.")] = "random,diverse,uncertain,mix",
    draws: Annotated[int, typer.Option(help="Draws of the random order: 0, 1, ...")] = 3,
    judged: Annotated[int, typer.Option(help="Most test cases that judge.")] = 120,
    out: Annotated[Path, typer.Option(help="Where the cells' files go.")] = Path(
        "scripts/studies/label_order"
    ),
) -> None:
    with one_line_errors():
        for order in orders.split(","):
            if order not in ORDERS:
                raise ConfigError(f"order '{order}' is not known{nearest(order, ORDERS)}")
        study = Study(RunDir(run), out, judged)
        for draw in range(draws):
            for order in orders.split(","):
                study.play(order, draw)


if __name__ == "__main__":
    app()
