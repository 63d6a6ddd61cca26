"""One person at work: the book of labels, the teacher behind it, and what the page asks of both.

Everything here is plain data, so that `web.py` only carries it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import InputError, in_one_line
from meddistill.data.originals import load_original, shown_window
from meddistill.labelling.actions import Action, from_plain, to_plain
from meddistill.labelling.assistant import Assistant
from meddistill.labelling.book import LabelBook
from meddistill.labelling.orders import DOUBTED, DOUBTING, ORDERS, Known, candidates
from meddistill.labelling.pupil import Pupil
from meddistill.labelling.reviews import Reviews
from meddistill.labelling.rounds import Rounds
from meddistill.labelling.state import BOXED, EMPTY, OPEN, SKIPPED, STATUSES
from meddistill.labelling.thumbnails import Thumbnails
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case
from meddistill.run.volumes import volume_of

_LETTERS = {status: status[0] for status in STATUSES}
_SPLITS = {"train": "t", "val": "v", "test": "x"}
LABEL = "label"


def _neighbours(cases: Sequence[Case]) -> dict[int, dict[str, Any]]:
    """Of slices of a volume, by number: the numbers of those before and after it (None at an end),
    its own place from 1, and of how many."""
    by_volume: dict[str, list[int]] = {}
    for number, case in enumerate(cases):
        volume = volume_of(case)
        if volume:
            by_volume.setdefault(volume, []).append(number)
    beside = {}
    for numbers in by_volume.values():
        numbers.sort(key=lambda number: cases[number].slice or 0)  # without numbers as listed
        for place, number in enumerate(numbers):
            beside[number] = {
                "before": numbers[place - 1] if place else None,
                "after": numbers[place + 1] if place + 1 < len(numbers) else None,
                "place": place + 1,
                "of": len(numbers),
            }
    return beside


class Session:
    """A RUN with its `book`, the `assistant` and the `pupil`; images are known by number, their
    place in `data`: cases.csv, or those of it that are looked at."""

    mode = LABEL
    rounds: Rounds | None = None
    """Training in the background, where it is wanted."""

    def __init__(
        self,
        book: LabelBook,
        assistant: Assistant,
        pupil: Pupil,
        order: str,
        cases: Sequence[Case] | None = None,
        originals: Path | None = None,
    ) -> None:
        folder = str(book.folder.resolve())
        self.name = book.folder.resolve().parent.name
        self.key = hashlib.sha256(
            f"{folder}{'' if cases is None else ' part'}".encode()
        ).hexdigest()[:16]
        """Tells this RUN from another: what a page could not send yet must not go to a stranger."""
        self.book = book
        self.data = book.data if cases is None else Dataset(book.data.directory, cases)
        self.assistant = assistant
        self.pupil = pupil
        self.order = order
        self.originals = originals
        """The source's folder, whose files may have more grey values than are shown."""
        self.reviews = Reviews(self.data, book, assistant, pupil)
        self.thumbnails = Thumbnails(book.folder / "thumbnails", self.data)
        self._numbers = {case.case_id: number for number, case in enumerate(self.data.cases)}
        self._beside = _neighbours(self.data.cases)
        self._unreadable: set[str] = set()

    def case(self, number: int) -> Case | None:
        """The image with this number; None where there is none."""
        return self.data.cases[number] if 0 <= number < len(self.data) else None

    def about(self) -> dict[str, Any]:
        """What the page needs once: names and splits of all images, a letter each for a split."""
        cases = self.data.cases
        return {
            "mode": self.mode,
            "run": self.name,
            "key": self.key,
            "user": self.book.user,
            "findings": list(self.book.findings),
            "colours": self.book.colours,
            "among": list(self.book.among),
            "order": self.order,
            "orders": list(ORDERS),
            "names": [case.case_id for case in cases],
            "splits": "".join(_SPLITS[case.split] for case in cases),
            "originals": self.originals is not None,
            **self.news(-1),
        }

    def news(self, since: int) -> dict[str, Any]:
        """How far it is. `since`: the version that the page has; `statuses`, a letter an image, is
        there where the book has another; `problem`: why somebody's journal cannot be read."""
        problem = ""
        try:
            self.book.refresh()
        except InputError as error:
            problem = in_one_line(error)
        said: dict[str, Any] = {
            "problem": problem,
            "version": self.book.version,
            "counts": self.counts(),
            "seconds_a_box": self.book.seconds_a_box(),
            "teacher": dataclasses.asdict(self.assistant.help()),
            "student": self.pupil.key(),
            "unreadable": sum(map(self._is_unreadable, self.data.cases)),
            "rounds": None if self.rounds is None else self.rounds.told(),
        }
        if self.book.version != since:
            said["statuses"] = "".join(self.letter(case) for case in self.data.cases)
        return said

    def note_unreadable(self, case: Case) -> None:
        """Pass the image over from now on: it cannot be shown."""
        self._unreadable.add(case.case_id)

    def _is_unreadable(self, case: Case) -> bool:
        return case.case_id in self._unreadable or case.case_id in self.assistant.unreadable

    def audit_result(self) -> dict[str, Any] | None:
        """What the masks that were settled say of the student; None where none are."""
        return None

    def counts(self) -> dict[str, int]:
        """Images by status."""
        return self.book.counts()

    def letter(self, case: Case) -> str:
        """The status of an image, as the page has it."""
        return _LETTERS[self.book.status(case)]

    def image(self, number: int, case: Case) -> dict[str, Any]:
        """All of one image but its pixels."""
        return {
            "number": number,
            "image": case.source,
            "name": case.case_id,
            "split": case.split,
            "group": case.group,
            "width": case.width,
            "height": case.height,
            "volume": self._beside.get(number),
            **self.history(case),
        }

    def act(self, plain: Any) -> dict[str, Any]:
        """Save an action and return the history of its image. Raises: as `from_plain`, `prepared`
        and `LabelBook.save`."""
        action = from_plain(plain)
        if not self.book.knows(action.action_id):
            action = self.prepared(action)
        case = self.book.save(action)
        self.assistant.nudge()
        return self.history(case)

    def prepared(self, action: Action) -> Action:
        """The action as it is to be saved. Raises: ValueError for one that this page does not
        do."""
        if action.kind == "audit":
            raise ValueError("masks are settled in `meddistill label --audit`")
        return action

    def history(self, case: Case) -> dict[str, Any]:
        """What was done to it."""
        actions = self.book.actions(case)
        return {
            "version": self.book.version,
            "actions": [{**to_plain(action), "user": action.user} for action in actions],
        }

    def mask(self, case: Case, box: Sequence[float]) -> tuple[np.ndarray, float]:
        """As `Assistant.mask`."""
        return self.assistant.mask(case, np.array(box, np.float32))

    def grey_values(self, case: Case) -> tuple[np.ndarray, list[float]]:
        """The image's values as its source has them, uint16 (H, W) from its lowest to its highest;
        and lowest, highest, and those two that are shown black and white. Raises: InputError where
        there are no more than are shown."""
        if self.originals is None:
            raise InputError("the folder of the originals is not known: give it as --source")
        values = load_original(self.originals, case.source, (case.height, case.width))
        low, high = float(values.min()), float(values.max())
        black, white = shown_window(values, self.data.image(case)[..., 0])
        scaled = np.rint((values - low) * (65535 / max(high - low, 1e-12)))
        return scaled.astype(np.uint16), [low, high, black, white]

    def proposals(self, case: Case) -> dict[str, Any]:
        """Boxes that the heads propose, of findings that are open on this image."""
        state = self.book.state(case)
        known = state.nothing | state.unsure | {box.finding for box in state.boxes}
        found = [each for each in self.assistant.propose(case) if each.finding not in known]
        return {"boxes": [dataclasses.asdict(each) for each in found]}

    def after(self, passed: Collection[int], order: str) -> int | None:
        """The number of the image to look at after these: the next that nobody has looked at,
        then those skipped; None where none is left."""
        return next((self._numbers[case.case_id] for case in self._left(order, passed)), None)

    def upcoming(self) -> list[Case]:
        """What the teacher should encode, the nearest first; at last what somebody has looked at,
        which the heads learn from."""
        left = self._left(self.order)
        known = {case.case_id for case in left}
        return [*left, *(case for case in self.data.cases if case.case_id not in known)]

    def follow(self, order: str) -> None:
        """Go on in another order."""
        self.order = order
        self.assistant.nudge()

    def doubted(self) -> list[Case]:
        """The images whose doubt the order weighs; none where it does not ask."""
        if self.order not in DOUBTING:
            return []
        return candidates(self._by_status()[OPEN], self._known([]), DOUBTED)

    def _left(self, order: str, but: Collection[int] = ()) -> list[Case]:
        by_status = self._by_status(but)
        done = [*by_status[BOXED], *by_status[EMPTY]]
        known = self._known([case.case_id for case in done if case.split != "test"])
        return [*ORDERS[order](by_status[OPEN], known), *ORDERS[order](by_status[SKIPPED], Known())]

    def _by_status(self, but: Collection[int] = ()) -> dict[str, list[Case]]:
        by_status: dict[str, list[Case]] = {status: [] for status in STATUSES}
        for number, case in enumerate(self.data.cases):
            if number not in but and not self._is_unreadable(case):
                by_status[self.book.status(case)].append(case)
        return by_status

    def _known(self, done: list[str]) -> Known:
        return Known(self.assistant.features, self.assistant.doubts, done)
