"""RUN/labels/USER.jsonl: what one person did, a line an action, never changed and never shortened.

A line counts once the disk has it: `append` returns after `fsync`. What a kill or a full disk left
half written was never told to be saved, and is cut off.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from meddistill.base.errors import InputError
from meddistill.labelling.actions import Action, from_plain, to_plain

FORMAT = 1
SUFFIX = ".jsonl"
_HEAD = "meddistill_labels"
_USER = re.compile(r"[A-Za-z0-9_-]{1,40}")


def check_user(name: str) -> str:
    """`name`, which becomes a file's. Raises: InputError unless it is a plain one."""
    if not _USER.fullmatch(name):
        raise InputError(
            f"user '{name}' is no plain name; expected at most 40 letters, digits, '_' or '-'"
        )
    return name


class JournalReader:
    """The actions of a journal that somebody may be writing: each `read` gives the new ones.

    A last line without its end is left for the next time. Raises: InputError for a journal of
    another version, or a line that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.user = path.name.removesuffix(SUFFIX)
        self._offset = 0
        self._lines = 0

    @property
    def end(self) -> int:
        """Bytes up to the end of the last whole line that was read."""
        return self._offset

    def read(self) -> list[Action]:
        """What has been written since the last call."""
        try:
            if self.path.stat().st_size <= self._offset:
                return []
            with self.path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        parsed = [self._parse(line, self._lines + place) for place, line in enumerate(lines, 1)]
        self._lines += len(lines)  # not before: a line that does not fit is read, and told, again
        self._offset += len(whole)
        return [action for action in parsed if action is not None]

    def _parse(self, line: bytes, number: int) -> Action | None:
        where = f"{self.path} line {number}"
        try:
            plain: Any = json.loads(line)
        except ValueError:
            raise InputError(
                f"{where} is no JSON; the journal was damaged after it was written: put a copy of "
                "it back, or move it away to begin anew"
            ) from None
        if number == 1:
            written = plain.get(_HEAD) if isinstance(plain, dict) else None
            if written != FORMAT:
                raise InputError(
                    f"{self.path} is a journal of version {written!r}, expected {FORMAT}; label "
                    "with the version of meddistill that wrote it, or move it away to begin anew"
                )
            return None
        try:
            return from_plain(plain, self.user)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None


class Journal:
    """The journal that this process writes. `mended`: bytes of a cut last line that were taken
    away; `actions`: what it held.

    Raises: as `JournalReader`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            reader = JournalReader(path)
            self.actions = reader.read()
            self.user = reader.user
            size = os.fstat(self._file).st_size
            self.mended = size - reader.end
            if self.mended:
                os.ftruncate(self._file, reader.end)
            if not reader.end:
                self._write({_HEAD: FORMAT, "user": self.user, "begun_ms": _now_ms()})
            if new:
                _sync_folder(path.parent)
        except BaseException:
            os.close(self._file)
            raise
        self._last_ms = max((action.moment_ms for action in self.actions), default=0)

    def append(self, action: Action, after_ms: int = 0) -> Action:
        """Write the action with this moment and user, and return it so, once the disk has it. It is
        no earlier than `after_ms`, whatever this machine's clock says: that of an action it follows.

        Raises: OSError, and then nothing was written.
        """
        self._last_ms = max(self._last_ms, _now_ms(), after_ms)
        stamped = dataclasses.replace(action, user=self.user, moment_ms=self._last_ms)
        self._write(to_plain(stamped))
        return stamped

    def close(self) -> None:
        os.close(self._file)

    def _write(self, plain: dict[str, Any]) -> None:
        line = (json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n").encode()
        before = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, before)  # gives bytes back: that works on a full disk, too
            raise


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _sync_folder(folder: Path) -> None:
    """A new file's name must be on the disk as well as its content."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(handle)
    except OSError:  # a file system that cannot
        pass
    finally:
        os.close(handle)
