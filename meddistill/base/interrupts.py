"""SIGINT and SIGTERM held back while a step is finished and saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from meddistill.base.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Request:
    """Whether the process was asked to stop while signals were held back."""

    signal_number = 0

    def raise_if_made(self) -> None:
        """Raises: Interrupted."""
        if self.signal_number:
            raise Interrupted(self.signal_number)


@contextmanager
def held_back() -> Iterator[Request]:
    """Within, a first signal only makes a `Request`, a second one ends the process at once.

    A request that nobody asked about is raised at the end. Threads other than the main one get no
    signals and change nothing.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal_number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        request.signal_number = number

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    request.raise_if_made()
