"""RUN/labels as a whole: every person's journal, what they come to, and the one that is written
here."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

from meddistill.base import console
from meddistill.base.csv_tables import write_table
from meddistill.base.errors import InputError, StageError
from meddistill.data.findings import hex_colour
from meddistill.labelling.actions import GIVEN, Action, Box
from meddistill.labelling.audit_table import audit_rows
from meddistill.labelling.box_table import LabelRow, table_of
from meddistill.labelling.journal import SUFFIX, Journal, JournalReader, check_user
from meddistill.labelling.state import (
    BOXED,
    EMPTY,
    OPEN,
    ImageState,
    counts_of,
    derive,
    in_order,
    seconds_a_box,
)
from meddistill.run import lock
from meddistill.run.audits import AuditRow, audit_folder, write_audit
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import AUDIT_CSV, BOXES_CSV
from meddistill.run.tables import Case

LEAST_BOX_PX = 1
"""What boxes.csv can hold; the page draws none below two."""


class RefusedActionError(Exception):
    """An action that can never be saved, and why."""


def read_actions(folder: Path) -> list[Action]:
    """The actions of all journals in `folder`, in their order; none where it is not there.

    A cut last line is left out. Raises: InputError as `JournalReader`.
    """
    found = [JournalReader(path).read() for path in sorted(folder.glob(f"*{SUFFIX}"))]
    return in_order([action for actions in found for action in actions])


def states_of(actions: Sequence[Action], findings: Sequence[str]) -> dict[str, ImageState]:
    """What `actions` come to, by image; only images that they are about."""
    by_image: dict[str, list[Action]] = {}
    for action in actions:
        if action.kind == "audit":  # settles a mask to judge by, which is no label
            continue
        by_image.setdefault(action.image, []).append(action)
    return {image: derive(of_image, findings) for image, of_image in by_image.items()}


class LabelBook:
    """The labels of a RUN while one person works on them; several threads may ask.

    `folder`: RUN/labels. `findings`: what is looked for, at least one name. Raises: InputError for
    a user's name or a journal that does not fit; StageError where the same user labels already.
    """

    def __init__(
        self, folder: Path, data: Dataset, findings: Sequence[str], user: str = "me"
    ) -> None:
        self.folder = folder
        self.data = data
        self.findings = tuple(findings)
        self._findings_of_run = read_findings(data.directory)
        self.among = () if self._findings_of_run.is_one else self.findings
        """What "nothing there" is about, of a RUN of several findings: who looks for some of them
        says nothing of the others. The one of another RUN may be called otherwise each time."""
        self.user = check_user(user)
        self._lock = threading.RLock()
        self._place = folder / user
        self._by_source = {case.source: case for case in data.cases}
        try:
            lock.acquire(self._place)
        except StageError:
            raise StageError(
                f"{folder} is being labelled by '{user}' already, in another process; end that one "
                "first, or take another name with --user NAME"
            ) from None
        try:
            self._journal = Journal(folder / f"{user}{SUFFIX}")
            if self._journal.mended:
                console.warn(
                    f"{self._journal.path}: its last line was cut off while it was written "
                    f"({self._journal.mended} bytes); it was never shown as saved and is taken away"
                )
            self._readers: dict[Path, JournalReader | None] = {self._journal.path: None}
            self._by_image: dict[str, list[Action]] = {}
            self._states: dict[str, ImageState] = {}
            self._given_states: dict[str, ImageState] = {}
            self._own = list(self._journal.actions)
            self._ids: set[str] = set()
            self.version = 0
            """Grows with everything that is saved, by whomever."""
            self._saved_rows = -1
            self._take(self._own)
            self.refresh()
        except BaseException:
            lock.release(self._place)
            raise

    @property
    def colours(self) -> dict[str, str]:
        """`#rrggbb` of the findings for which somebody chose a colour, by their names here."""
        chosen, own = self._findings_of_run.chosen_colours, self._findings_of_run
        names = dict(zip(own.names, self.findings, strict=False)) if own.is_one else {}
        return {names.get(name, name): hex_colour(colour) for name, colour in chosen.items()}

    def close(self) -> None:
        """Write boxes.csv and give the journal back."""
        with self._lock:
            try:
                self.write_boxes()
            finally:
                self._journal.close()
                lock.release(self._place)

    def refresh(self) -> None:
        """Take in what others have written since. Raises: InputError as `JournalReader`, after all
        that can be read."""
        with self._lock:
            problem: InputError | None = None
            for path in sorted(self.folder.glob(f"*{SUFFIX}")):
                if path not in self._readers:
                    self._readers[path] = JournalReader(path)
                reader = self._readers[path]
                if reader is None:
                    continue
                try:
                    self._take(reader.read())
                except InputError as error:
                    problem = problem or error
            if problem is not None:
                raise problem

    def save(self, action: Action) -> Case:
        """Write the action to the journal; on return the disk has it. One that was saved before, by
        its id, is not saved again. Returns the case of its image.

        Raises: RefusedActionError; OSError where the disk refuses, and then nothing was written.
        """
        with self._lock:
            case = self._by_source.get(action.image)
            if case is None:
                raise RefusedActionError(f"there is no image '{action.image}'")
            if action.action_id in self._ids:
                return case
            action = self._checked(action, case)
            if action.image not in self._by_image:
                given = self.given(case)
                if given is not None:
                    self._own.append(self._journal.append(given))
                    self._take(self._own[-1:])
            # Another person's machine may have a clock that is ahead of ours.
            there = self._by_image.get(action.image, [])
            after_ms = max((each.moment_ms + (each.user != self.user) for each in there), default=0)
            self._own.append(self._journal.append(action, after_ms))
            self._take(self._own[-1:])
            return case

    def knows(self, action_id: str) -> bool:
        """Whether an action with this id was saved."""
        with self._lock:
            return action_id in self._ids

    def actions(self, case: Case) -> list[Action]:
        """What was done to the image, with what RUN/data says of it before."""
        with self._lock:
            known = self._by_image.get(case.source)
            if known is not None:
                return list(known)
            given = self.given(case)
            return [] if given is None else [given]

    def state(self, case: Case) -> ImageState:
        with self._lock:
            known = self._states.get(case.source) or self._given_states.get(case.source)
            if known is None:  # a file each: of thousands not whenever somebody asks
                known = derive(self.actions(case), self.findings)
                self._given_states[case.source] = known
            return known

    def status(self, case: Case) -> str:
        """As `ImageState.status`, without reading a file."""
        known = self._states.get(case.source)
        if known is not None:
            return known.status(self.findings)
        if case.annotation == "boxes":
            return BOXED
        seen = all(case.looked_for(name) for name in self.findings)
        return EMPTY if case.annotation == "none" and seen else OPEN

    def touched(self, case: Case) -> bool:
        """Whether anybody did anything to the image here."""
        return case.source in self._by_image

    def counts(self) -> dict[str, int]:
        """Images by status."""
        with self._lock:
            counts = counts_of([], self.findings, 0)
            for case in self.data.cases:
                counts[self.status(case)] += 1
            return counts

    def seconds_a_box(self) -> float | None:
        """Of this user: see `state.seconds_a_box`."""
        with self._lock:
            return seconds_a_box(self._own)

    def given(self, case: Case) -> Action | None:
        """What RUN/data says of an image, as an action; None where nobody has looked at it."""
        if case.annotation == "unknown":
            return None
        found, which = annotated_findings(self.data.directory, case)
        own = self._findings_of_run
        # The one finding of a RUN may be called otherwise on the page.
        names = self.findings[:1] if own.is_one else own.names
        boxes = tuple(
            Box(f"given-{number}", (x1, y1, x2, y2), names[0 if own.is_one else place], GIVEN)
            for number, ((x1, y1, x2, y2), place) in enumerate(
                zip(found.tolist(), which.tolist(), strict=True)
            )
        )
        nothing = () if boxes else self.findings
        if not own.is_one:
            there = {box.finding for box in boxes}
            nothing = tuple(n for n in own.names if case.looked_for(n) and n not in there)
        return Action(
            f"given-{case.sha256[:16]}", case.source, "given", boxes=boxes, nothing=nothing
        )

    def write_boxes(self) -> None:
        """Write boxes.csv anew where something changed."""
        with self._lock:
            with contextlib.suppress(InputError):  # somebody else's journal; the page tells of it
                self.refresh()
            version = self.version
            if version == self._saved_rows:
                return
            states = [
                (case.source, self._states[case.source])
                for case in self.data.cases
                if case.source in self._states
            ]
            audits = self.audits()
        write_table(self.folder / BOXES_CSV, LabelRow, table_of(states, self.findings))
        if audits or (audit_folder(self.folder) / AUDIT_CSV).exists():
            write_audit(self.folder, audits)
        self._saved_rows = version

    def audits(self, cases: Sequence[Case] | None = None) -> list[AuditRow]:
        """The masks of `cases` (all, where none are given) that people settled, in their order."""
        return audit_rows(self._by_image, self.data.cases if cases is None else cases)

    def _take(self, actions: Sequence[Action]) -> None:
        touched = set()
        for action in actions:
            self._by_image.setdefault(action.image, []).append(action)
            self._ids.add(action.action_id)
            touched.add(action.image)
        for image in touched:
            self._by_image[image] = in_order(self._by_image[image])
            self._states[image] = derive(self._by_image[image], self.findings)
        self.version += len(actions)

    def _checked(self, action: Action, case: Case) -> Action:
        if action.kind == "given":
            raise RefusedActionError("'given' is written by the server alone")
        named = action.box.finding if action.box else action.finding
        if named not in self.findings and (named or action.kind in ("draw", "name")):
            raise RefusedActionError(f"finding '{named}' is none of {', '.join(self.findings)}")
        if action.kind in ("undo", "redo"):
            there = self._by_image.get(case.source, [])
            if action.of not in {each.action_id for each in there if each.user == self.user}:
                raise RefusedActionError(
                    f"there is nothing of {self.user} to {action.kind} by that id"
                )
        box = action.box.xyxy if action.box else action.xyxy
        if box is not None and not (
            box[0] >= 0 and box[2] <= case.width and box[1] >= 0 and box[3] <= case.height
        ):
            raise RefusedActionError(
                f"the box lies outside the image of {case.width}x{case.height} px"
            )
        if box is not None and min(box[2] - box[0], box[3] - box[1]) < LEAST_BOX_PX:
            raise RefusedActionError(
                f"a box is at least {LEAST_BOX_PX} px wide and high, got {box[2] - box[0]:g} x "
                f"{box[3] - box[1]:g}"
            )
        about_all = action.kind in ("empty", "unsure") and not action.finding
        return dataclasses.replace(action, among=self.among if about_all else ())
