"""What a person sees in the terminal: progress with the time left, and short messages. Nothing else prints."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress, Task

console = Console(stderr=True, highlight=False)
_PLAIN_INTERVAL_S = 10.0
_TITLE_WIDTH = 18
_quiet = False

Item = TypeVar("Item")


def set_quiet(quiet: bool) -> None:
    """With `quiet` only warnings, errors and a command's own answer are printed."""
    global _quiet
    _quiet = quiet


def say(message: str) -> None:
    if not _quiet:
        # A log keeps one message on one line; a terminal gets it broken between words.
        console.print(message, markup=False, soft_wrap=not console.is_terminal)


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


def _live_bar() -> Progress:
    # Imported where a bar is drawn: `--help` need not wait for it.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column

    class Clock(ProgressColumn):
        """`0:16, 0:42 left`; the time it took once it is done."""

        def render(self, task: Task) -> Text:
            elapsed = _minutes(task.finished_time if task.finished else task.elapsed)
            if task.finished:
                return Text(elapsed)
            return Text(f"{elapsed}, {_minutes(task.time_remaining)} left")

    return Progress(
        TextColumn(f"{{task.description:<{_TITLE_WIDTH}}}"), BarColumn(bar_width=_bar_width()),
        MofNCompleteColumn(), Clock(Column(no_wrap=True)), TextColumn("{task.fields[note]}", style="dim"),
        console=console,
    )  # fmt: skip


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _bar_width() -> int:
    # What the other columns leave of a narrow terminal; beyond 40 cells a bar says no more.
    return min(40, max(8, console.width - _TITLE_WIDTH - 52))


class Bar:
    """One progress bar; `advance` it, and put a short text (a loss, a count) behind it with `note`."""

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self._before = 0
        self._note = ""
        self._started = self._printed = time.monotonic()
        self._rich: Progress | None = None
        if console.is_terminal and not _quiet:
            self._rich = _live_bar()
            self._task = self._rich.add_task(title, total=total, note="")
            self._rich.start()

    def resume(self, done: int) -> None:
        """Say that `done` steps were made by an earlier run: they count as done, but not for the time left."""
        self.done = self._before = done
        if self._rich is not None:
            self._rich.reset(self._task, completed=done)

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
        made = self.done - self._before
        left = elapsed / made * (self.total - self.done) if made else None
        print(
            f"{self.title}: {self.done}/{self.total}, {_minutes(elapsed)}, {_minutes(left)} left {self._note}".rstrip(),
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
