"""Who asks the teacher: one at a time, the newest first; who has gone is dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_gone: ContextVar[threading.Event | None] = ContextVar("gone", default=None)
LOOK_S = 0.1
"""How often who waits looks whether the one who asked is still there."""


class GoneError(Exception):
    """Nobody waits for the answer any longer."""


@contextmanager
def asked_until(gone: threading.Event) -> Iterator[None]:
    """What this thread is asked within is of use until `gone` is set."""
    before = _gone.set(gone)
    try:
        yield
    finally:
        _gone.reset(before)


def stop_if_gone() -> None:
    """Raises: GoneError where nobody waits for what this thread is asked."""
    gone = _gone.get()
    if gone is not None and gone.is_set():
        raise GoneError


class Turns:
    """One after another; of those who wait the newest is next, as people look at what they opened
    last."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[object] = []
        self._taken = False

    @contextmanager
    def next(self) -> Iterator[None]:
        """Wait, and be the only one within. Raises: GoneError."""
        self._take()
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    def _take(self) -> None:
        me = object()
        with self._changed:
            self._waiting.append(me)
            try:
                stop_if_gone()
                while self._taken or self._waiting[-1] is not me:
                    self._changed.wait(LOOK_S)
                    stop_if_gone()
                self._taken = True
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
