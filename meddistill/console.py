"""What a person sees in the terminal: progress with the time left, and short messages. Nothing else prints."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

console = Console(stderr=True, highlight=False)
_PLAIN_INTERVAL_S = 10.0
_quiet = False

Item = TypeVar("Item")


def set_quiet(quiet: bool) -> None:
    """With `quiet` only warnings, errors and a command's own answer are printed."""
    global _quiet
    _quiet = quiet


def say(message: str) -> None:
    if not _quiet:
        console.print(message, markup=False, soft_wrap=True)


def heading(title: str) -> None:
    """Begin a part of a longer command: a rule across the terminal, a plain line elsewhere."""
    if _quiet:
        return
    if console.is_terminal:
        console.rule(Text(title, style="bold"), align="left", style="dim")
    else:
        console.print(f"--- {title}", markup=False, soft_wrap=True)


def answer(text: str) -> None:
    """What the user asked for, on standard output: printed even with `--quiet`."""
    print(text, flush=True)


def warn(message: str) -> None:
    console.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)


class Bar:
    """One progress bar; `advance` it, and put a short text (a loss, a count) behind it with `note`."""

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self._note = ""
        self._started = self._printed = time.monotonic()
        self._rich: Progress | None = None
        if console.is_terminal and not _quiet:
            self._rich = Progress(
                TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(),
                TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
                console=console, expand=True,
            )  # fmt: skip
            self._task = self._rich.add_task(title, total=total, note="")
            self._rich.start()

    def advance(self, count: int = 1) -> None:
        self.done += count
        if self._rich is not None:
            self._rich.advance(self._task, count)
        elif not _quiet and time.monotonic() - self._printed >= _PLAIN_INTERVAL_S:
            self._print_plain()

    def note(self, text: str) -> None:
        self._note = text
        if self._rich is not None:
            self._rich.update(self._task, note=text)

    def close(self) -> None:
        if self._rich is not None:
            self._rich.stop()
        elif not _quiet:
            self._print_plain()

    def _print_plain(self) -> None:
        # A log file gets a line every few seconds, not a bar redrawn a thousand times.
        self._printed = time.monotonic()
        elapsed = self._printed - self._started
        left = elapsed / self.done * (self.total - self.done) if self.done else 0.0
        print(
            f"{self.title}: {self.done}/{self.total}, {elapsed:.0f} s, {left:.0f} s left {self._note}".rstrip(),
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def progress(title: str, total: int) -> Iterator[Bar]:
    bar = Bar(title, total)
    try:
        yield bar
    finally:
        bar.close()


def track(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """Yield `items` under a progress bar."""
    with progress(title, total) as bar:
        for item in items:
            yield item
            bar.advance()
