"""Work in a background thread that stands aside, between two layers of a network, for as long as a
person waits for something."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn.modules.module import register_module_forward_pre_hook

from meddistill.labelling.asking import stop_if_gone


class Yielding:
    """Who goes first. A network that runs within `background` pauses before its next layer while
    somebody is within `foreground`, and another ends there once who asked has gone (GoneError); of
    LiteMedSAM's encoder a layer takes milliseconds."""

    def __init__(self) -> None:
        self._waiting = 0
        self._lock = threading.Lock()
        self._free = threading.Event()
        self._free.set()
        self._in_background = threading.local()
        self._hook = register_module_forward_pre_hook(self._pause)

    def close(self) -> None:
        """Take the hook, which is process-wide, away."""
        self._hook.remove()

    @contextmanager
    def foreground(self) -> Iterator[None]:
        with self._lock:
            self._waiting += 1
            self._free.clear()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    self._free.set()

    @contextmanager
    def background(self) -> Iterator[None]:
        self._in_background.on = True
        try:
            yield
        finally:
            self._in_background.on = False

    def _pause(self, module: Any, arguments: Any) -> None:
        if getattr(self._in_background, "on", False):
            self._free.wait()
        else:
            stop_if_gone()
