"""The teacher behind the page: it encodes images before they are asked for, answers a box with a
mask, and lets the small head propose.

One background thread loads the teacher, encodes and trains; a prompt is answered by the thread that
asks, and the background stands aside meanwhile. Of those who ask one encodes at a time, the newest
first, and not for somebody who has gone.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from meddistill.base.errors import MedDistillError, disk_problem, in_one_line
from meddistill.labelling.asking import LOOK_S, Turns, stop_if_gone
from meddistill.run.dataset import Dataset
from meddistill.run.layout import ENCODINGS
from meddistill.run.tables import Case

if TYPE_CHECKING:
    from meddistill.labelling.labelled import Labelled, Proposed
    from meddistill.labelling.proposer import Proposer
    from meddistill.labelling.yielding import Yielding
    from meddistill.targets.encodings import EncodingStore
    from meddistill.teachers.teacher import Encoded, Teacher

OFF, LOADING, READY, FAILED = "off", "loading", "ready", "failed"
MASK_SIDE = 1024
"""Longest side of a mask that goes to the page, px: a screen shows no more."""
_KEPT_ENCODINGS = 6
_NAP_S = 1.0
_AGAIN_S = 30.0
_SOON = 5


class NotReadyError(Exception):
    """The teacher cannot be asked now, and why."""


@dataclasses.dataclass(frozen=True)
class Help:
    """What the page is told of its teacher. `state`: `off`, `loading`, `ready` or `failed`;
    `message`: why, in one line; `encoded` of `wanted` images are ready to be asked about;
    `proposals`: from how many boxed images the head has learnt, 0 for no head yet; `head_dice`: of
    its masks with the teacher's on boxed images that it did not see, None where it is not known."""

    state: str
    message: str = ""
    encoded: int = 0
    wanted: int = 0
    proposals: int = 0
    head_dice: float | None = None


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the background is to do, asked anew each time. `upcoming`: all images, the nearest
    first; `labelled`: what the heads may learn from; `doubted`: of which images somebody wants to
    know how doubtful they are; `more`: does something else where there is something, and says whether
    it did."""

    upcoming: Callable[[], Sequence[Case]]
    labelled: Callable[[], Sequence[Labelled]]
    doubted: Callable[[], Sequence[Case]]
    more: Callable[[], bool] = lambda: False


class Assistant:
    """A teacher over the images of `data`, with encodings and answers below `folder`
    (RUN/teacher).

    `load` gives the teacher, in the background; None for none. `wishes` is asked again after each
    image. `features`, by case id: what each image that it has seen looks like, (C,) float32;
    `doubts`: how unsure it is of those whose doubt is wished for, in [0, 1]; `unreadable`: those
    that it could not be shown.
    """

    def __init__(
        self,
        data: Dataset,
        folder: Path,
        load: Callable[[], Teacher] | None,
        wishes: Wishes,
        budget_gb: float = 20.0,
    ) -> None:
        self.data = data
        self.folder = folder
        self.budget_gb = budget_gb
        self.features: dict[str, np.ndarray] = {}
        self.doubts: dict[str, float] = {}
        self._learn_at = 0.0
        self._doubts_of = 0  # boxed images behind the heads that doubt
        self._load = load
        self._wishes = wishes
        self._state = LOADING if load else OFF
        self._message = "" if load else "no teacher: boxes are drawn without a mask"
        self._changed = threading.Condition()
        self._claimed: set[str] = set()
        self._turns = Turns()
        self._ended = False
        self._encoded: set[str] = set()
        self.unreadable: set[str] = set()
        self._recent: OrderedDict[str, Encoded] = OrderedDict()
        self._thread = threading.Thread(target=self._work, name="teacher", daemon=True)
        self._proposer: Proposer | None = None
        self._teacher: Teacher
        self._stores: tuple[EncodingStore, EncodingStore]
        self._yielding: Yielding

    def start(self) -> None:
        """Begin to load the teacher; returns at once."""
        if self._load is not None:
            self._thread.start()

    def end(self) -> None:
        """Stop the background work, after the image or head that it is at."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        if hasattr(self, "_yielding"):
            self._yielding.close()

    def help(self) -> Help:
        proposer = self._proposer
        return Help(
            self._state,
            self._message,
            len(self._encoded),
            len(self.data),
            proposer.learnt_from if proposer else 0,
            proposer.dice if proposer else None,
        )

    def nudge(self) -> None:
        """Something changed: look again at what comes next."""
        with self._changed:
            self._changed.notify_all()

    def mask(self, case: Case, box_xyxy_px: np.ndarray) -> tuple[np.ndarray, float]:
        """The teacher's soft mask for one box (4,) px, uint8 (H, W), 255 for certain, at the
        image's size but at most `MASK_SIDE` px; and its own estimate of the IoU, held to [0, 1].

        Raises: InputError for an image that cannot be read; NotReadyError; GoneError.
        """
        from meddistill.data.frames import scaled_hw

        size = (case.height, case.width)
        shown = size if max(size) <= MASK_SIDE else scaled_hw(size, MASK_SIDE)
        probs, predicted_iou = self._answer(case, box_xyxy_px.reshape(1, 4), shown)
        return (probs * 255).round().astype(np.uint8), predicted_iou

    def answer(self, case: Case, boxes_xyxy_px: np.ndarray) -> tuple[np.ndarray, float]:
        """The teacher's mask for boxes (N, 4) px, N >= 1, bool (H, W) at the image's size; and its
        own estimate of the IoU, held to [0, 1]. Raises: as `mask`."""
        probs, predicted_iou = self._answer(case, boxes_xyxy_px, (case.height, case.width))
        return probs > 0.5, predicted_iou

    def _answer(
        self, case: Case, boxes_xyxy_px: np.ndarray, size_hw: tuple[int, int]
    ) -> tuple[np.ndarray, float]:
        import torch

        with self._asking(case) as encoded, torch.inference_mode():
            reply = self._teacher.decode(encoded, [boxes_xyxy_px.astype(np.float32)])[0]
            logits = self._teacher.to_image(reply.logits, size_hw).amax(0)
            probs = torch.sigmoid((logits + self._teacher.logit_shift).float())
            return probs.cpu().numpy(), float(reply.predicted_iou.float().mean().clamp(0, 1))

    def propose(self, case: Case) -> list[Proposed]:
        """What the heads propose on the image; nothing before there are any. Raises: as `mask`."""
        if self._proposer is None or not self._proposer.learnt_from:
            return []
        with self._asking(case) as encoded:
            return self._proposer.propose(case, encoded)

    def look_at(self, case: Case) -> None:
        """Have the image encoded. Raises: as `mask`."""
        with self._asking(case):
            pass

    @contextmanager
    def _asking(self, case: Case) -> Iterator[Encoded]:
        """The image's encoding, kept, read or made now, while the background stands aside; unless
        it is the background that asks."""
        if self._state != READY:
            raise NotReadyError(self._message or "the teacher is being loaded")
        self._claim(case)
        try:
            encoded = self._recent.get(case.case_id)
            if encoded is None:
                encoded = self._encode(case)
            with self._aside():
                yield encoded
        finally:
            self._release(case)

    def _encode(self, case: Case) -> Encoded:
        behind = threading.current_thread() is self._thread
        with nullcontext() if behind else self._turns.next(), self._aside():
            encoded = self._of_store(self._stores[behind], case)
        with self._changed:
            self._recent[case.case_id] = encoded
            while len(self._recent) > _KEPT_ENCODINGS:
                self._recent.popitem(last=False)
        return encoded

    def _aside(self) -> AbstractContextManager[None]:
        """Within it the background stands aside, unless it is the background that asks."""
        behind = threading.current_thread() is self._thread
        return nullcontext() if behind else self._yielding.foreground()

    def _claim(self, case: Case) -> None:
        """Become the only thread at this image. Nobody waits here within `foreground`: who has the
        image may be the background."""
        with self._changed:
            while case.case_id in self._claimed:
                stop_if_gone()
                self._changed.wait(LOOK_S)
            self._claimed.add(case.case_id)

    def _release(self, case: Case) -> None:
        with self._changed:
            self._claimed.discard(case.case_id)
            self._changed.notify_all()

    def _of_store(self, store: EncodingStore, case: Case) -> Encoded:
        from meddistill.labelling.proposer import feature_of

        try:
            _, encoded = next(iter(store.of_cases([case], self.data)))
        except OSError as error:  # or another process has just made room in the folder
            if disk_problem(error):
                store.budget_bytes = 0  # it is seen all the same, and not kept
            _, encoded = next(iter(store.of_cases([case], self.data)))
        self._encoded.add(case.case_id)
        if case.case_id not in self.features:
            self.features[case.case_id] = feature_of(encoded)
        return encoded

    def _work(self) -> None:
        try:
            self._begin()
        except MedDistillError as error:
            self._state, self._message = FAILED, str(error)
            return
        except Exception as error:  # a teacher that cannot start must not take the labels with it
            self._state, self._message = FAILED, f"the teacher cannot be loaded: {error}"
            raise
        self._state = READY
        try:
            with self._yielding.background():
                while not self._ended:
                    self._step()
        except Exception as error:  # nor one that stops later
            self._state, self._message = FAILED, f"the teacher stopped: {in_one_line(error)}"
            raise

    def _begin(self) -> None:
        from meddistill.labelling.proposer import Proposer
        from meddistill.labelling.yielding import Yielding
        from meddistill.targets.encodings import EncodingStore

        assert self._load is not None
        self._teacher = self._load()
        folder = self.folder / ENCODINGS
        # One for each thread: a store is not made for two.
        self._stores = (
            EncodingStore(folder, self._teacher, self.budget_gb, latest=True),
            EncodingStore(folder, self._teacher, self.budget_gb, latest=True),
        )
        self._yielding = Yielding()
        self._encoded |= {case.case_id for case in self.data.cases if self._stores[1].holds(case)}
        self._proposer = Proposer(self.data, self.folder, self._teacher)

    def _step(self) -> None:
        """Train the heads where enough is new, else look at the next image, else rest."""
        proposer = self._proposer
        assert proposer is not None
        labelled = self._wishes.labelled()
        if proposer.is_due(labelled) and time.monotonic() >= self._learn_at:
            self._learn(proposer, labelled)
            return
        upcoming = self._wishes.upcoming()
        case = self._to_see(upcoming[:_SOON]) or self._to_doubt()
        if case is None and self._wishes.more():
            return
        case = case or self._to_see(upcoming)
        if case is None:
            with self._changed:
                if not self._ended:
                    self._changed.wait(_NAP_S)
            return
        self._claim(case)
        try:
            encoded = self._of_store(self._stores[1], case)
            if self._doubts_of and case.case_id not in self.doubts:
                self.doubts[case.case_id] = proposer.doubt(case, encoded)
        except MedDistillError:
            self._encoded.add(case.case_id)  # cannot be read: the page says so when it is shown
            self.unreadable.add(case.case_id)
        finally:
            self._release(case)

    def _learn(self, proposer: Proposer, labelled: Sequence[Labelled]) -> None:
        """Train the heads; those of before stay where a picture has gone or the disk is full."""
        seen = [each for each in labelled if each.case.case_id not in self.unreadable]
        try:
            proposer.learn(seen, self._stores[1])
        except (MedDistillError, OSError):
            self._learn_at = time.monotonic() + _AGAIN_S

    def _to_see(self, cases: Sequence[Case]) -> Case | None:
        """The first that is not encoded, or whose features are not known since it was."""
        return next((case for case in cases if not self._is_known(case, self.features)), None)

    def _to_doubt(self) -> Case | None:
        """The first whose doubt is wished for and not known of the heads as they are now."""
        learnt_from = self._proposer.learnt_from if self._proposer else 0
        if self._doubts_of != learnt_from:
            self._doubts_of, self.doubts = learnt_from, {}
        wished = self._wishes.doubted() if learnt_from else []
        return next((case for case in wished if not self._is_known(case, self.doubts)), None)

    def _is_known(self, case: Case, found: Mapping[str, object]) -> bool:
        return case.case_id in found or case.case_id in self.unreadable
