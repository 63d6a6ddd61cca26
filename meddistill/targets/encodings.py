"""The teacher's encodings of a RUN's images, kept in half precision under a budget.

An encoding costs a second on two cores, reading it back a few milliseconds; it depends on image and
teacher alone, so that every student, round and seed of a RUN shares it. What the budget does not
hold is encoded again when it is asked for: slower, never wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from meddistill.base import console
from meddistill.base.files import DAMAGED_ARCHIVE, atomic_path, write_text
from meddistill.data.views import AS_IT_IS, View
from meddistill.run.dataset import Dataset
from meddistill.run.layout import TEACHER_TXT
from meddistill.run.tables import Case
from meddistill.teachers.teacher import Encoded, Teacher, encode_in_memory

_BATCH = 4
LEFT_FREE_BYTES = 500 * 10**6
"""Of the disk, whatever the budget: a disk that is full costs more than encodings anew."""
# numpy parses an array's header with `ast`, where CPython (3.11, issue 106905) raises SystemError now and then if
# another thread does so, too.
_reading = threading.Lock()


class EncodingStore:
    """Encodings of a teacher below `directory`, a file an image, at most `budget_gb` (10^9 bytes):
    what its decoder and heads on its maps read.

    When the budget is used up, files of other teachers go first, then the oldest of those that this
    store has not read or written: who passes over the same images again and again finds as many as
    there is room for. With `latest` the oldest go in any case, for one who looks at images in
    turn. With a budget of 0 nothing is kept, nor where the disk would have less than half a GB
    left.
    """

    def __init__(
        self, directory: Path, teacher: Teacher, budget_gb: float, *, latest: bool = False
    ) -> None:
        self.directory = directory
        self.teacher = teacher
        self.budget_bytes = int(budget_gb * 1e9)
        self.encoded = 0
        """How many images the teacher was shown."""
        self.dropped = 0
        """How many of its encodings there was no room for."""
        self.disk_is_full = False
        """Whether it was the disk that had none, and not the budget."""
        self._signed = False
        self._sizes = {name: size for name, (_, size) in self._files().items()}
        self._in_use: set[str] | None = None if latest else set()

    def of_cases(
        self,
        cases: Sequence[Case],
        data: Dataset,
        title: str = "",
        view: View = AS_IT_IS,
    ) -> Iterator[tuple[Case, Encoded]]:
        """Each case with its encoding (a batch of one), in the order given.

        Args:
            cases: whose images.
            data: where they lie.
            title: of a progress bar, shown where an image has to be encoded.
            view: of each image.

        Raises: InputError for an image that cannot be read.
        """
        missing = sum(not self._path(case, view).exists() for case in cases)
        if not missing or not title:
            yield from self._in_batches(cases, data, view)
            return
        with console.progress(title, len(cases)) as bar:
            for case, encoded in self._in_batches(cases, data, view):
                yield case, encoded
                bar.advance()

    def holds(self, case: Case) -> bool:
        """Whether the case's encoding is kept; it may still turn out to be damaged."""
        return self._path(case).exists()

    def fill(
        self,
        cases: Sequence[Case],
        data: Dataset,
        part: tuple[int, int],
        view: View = AS_IT_IS,
    ) -> None:
        """Encode what is not there, in the batches that `of_cases` makes of the same cases.

        Args:
            cases: as in `of_cases`.
            data: likewise.
            part: (k, n) takes every n-th batch from the k-th, so that processes share the work;
                each keeps the budget alone, so what all of them keep may exceed it until the next
                file.
            view: likewise.

        Raises: as `of_cases`.
        """
        number, count = part
        for start in range(number * _BATCH, len(cases), count * _BATCH):
            batch = cases[start : start + _BATCH]
            if not all(self._path(case, view).exists() for case in batch):
                for _ in self._in_batches(batch, data, view):
                    pass

    def _in_batches(
        self, cases: Sequence[Case], data: Dataset, view: View
    ) -> Iterator[tuple[Case, Encoded]]:
        for start in range(0, len(cases), _BATCH):
            batch = cases[start : start + _BATCH]
            found = [self._read(case, view) for case in batch]
            absent = [case for case, known in zip(batch, found, strict=True) if known is None]
            fresh: dict[str, Encoded] = {}
            if absent:
                images = [view.of(data.image(case)) for case in absent]
                made = encode_in_memory(self.teacher, images)
                self.encoded += len(absent)
                for index, case in enumerate(absent):
                    fresh[case.case_id] = self._keep(self._path(case, view), made.of_one(index))
            for case, known in zip(batch, found, strict=True):
                yield case, fresh[case.case_id] if known is None else known

    def _keep(self, path: Path, encoded: Encoded) -> Encoded:
        """Write it where the budget allows; what comes back has the precision of a stored one, so
        that a budget changes no result."""
        arrays = encoded.to_arrays(self.teacher.head_levels)
        size = sum(array.nbytes for array in arrays.values())
        if self._has_room(size) and self._fits_disk(size):
            with atomic_path(path) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]
                self._sizes[path.name] = temporary.stat().st_size
            self._sign()
            self._use(path)
            self._keep_to_budget()
        else:
            self.dropped += 1
        return Encoded.from_arrays(arrays)

    def _sign(self) -> None:
        """Say whose they are: a file's name holds no more than a hash of that."""
        if not self._signed:
            write_text(self.directory / TEACHER_TXT, self.teacher.name)
            self._signed = True

    def _use(self, path: Path) -> None:
        if self._in_use is not None:
            self._in_use.add(path.name)

    def _has_room(self, size: int) -> bool:
        """Whether there is room, or would be without the files that may go."""
        stay = sum(self._sizes.get(name, 0) for name in self._in_use or ())
        return stay + size <= self.budget_bytes

    def _fits_disk(self, size: int) -> bool:
        there = next(path for path in (self.directory, *self.directory.parents) if path.exists())
        fits = shutil.disk_usage(there).free - size >= LEFT_FREE_BYTES
        self.disk_is_full |= not fits
        return fits

    def _keep_to_budget(self) -> None:
        excess = sum(self._sizes.values()) - self.budget_bytes
        if excess <= 0:
            return
        own = f".{self._teacher_key()}."
        files = self._files()
        in_turn = sorted((own in name, age, name) for name, (age, _) in files.items())
        for is_own, _, name in in_turn:
            if excess <= 0:
                return
            if name in (self._in_use or ()):
                continue
            excess -= self._sizes.pop(name, files[name][1])
            self.dropped += is_own
            (self.directory / name).unlink(missing_ok=True)

    def _read(self, case: Case, view: View) -> Encoded | None:
        path = self._path(case, view)
        try:
            with _reading, path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                encoded = Encoded.from_arrays(arrays)
        except DAMAGED_ARCHIVE:
            return None  # not there, or damaged: it is made again
        if encoded.sizes_hw[0] != view.size_hw((case.height, case.width)):
            return None
        self._use(path)
        return encoded

    def _path(self, case: Case, view: View = AS_IT_IS) -> Path:
        seen = f".{view.name}" if view.name else ""
        name = f"{case.case_id}.{case.sha256[:16]}.{self._teacher_key()}{seen}.npz"
        return self.directory / name

    def _teacher_key(self) -> str:
        key = " ".join((self.teacher.fingerprint, *self.teacher.head_levels))
        return hashlib.sha256(key.encode()).hexdigest()[:12]

    def _files(self) -> dict[str, tuple[int, int]]:
        """When each was written (ns) and its bytes, by name; without those that another process is
        writing, or removed in between."""
        if not self.directory.is_dir():
            return {}
        found = {}
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if entry.name.endswith(".npz") and not entry.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        told = entry.stat()
                        found[entry.name] = (told.st_mtime_ns, told.st_size)
        return found
