"""What a person sees in the terminal: progress with the time left, and short messages. Nothing else
prints."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress, Task

console = Console(stderr=True, highlight=False)
_PLAIN_INTERVAL_S = 10.0
_TITLE_WIDTH = 18
_LEAST_LAST = 30
"""Characters of a table's last column below which it stands under its row."""
_quiet = False
_verbose = False
_next_shown = True

Item = TypeVar("Item")


def set_quiet(quiet: bool) -> None:
    """With `quiet` only warnings, errors and a command's own answer are printed."""
    global _quiet
    _quiet = quiet


def set_verbose(verbose: bool) -> None:
    """With `verbose` what `detail` is given is printed, too."""
    global _verbose
    _verbose = verbose


def _may_move(terminal: bool) -> bool:
    """Whether a line may be redrawn: not in a log, and a CI's terminal is one."""
    return terminal and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def _may_draw(terminal: bool) -> bool:
    """Whether boxes and rules are welcome."""
    return _may_move(terminal) and not os.environ.get("NO_COLOR")


def say(message: str) -> None:
    if not _quiet:
        # A log keeps one message on one line; a terminal gets it broken between words.
        console.print(message, markup=False, soft_wrap=not console.is_terminal)


def detail(message: str) -> None:
    """What only `--verbose` shows."""
    if _verbose:
        console.print(message, style="dim", markup=False, soft_wrap=True)


def heading(title: str) -> None:
    """Begin a part of a longer command: a rule across the terminal, a plain line elsewhere."""
    if _quiet:
        return
    if _may_draw(console.is_terminal):
        console.rule(Text(title, style="bold"), align="left", style="dim")
    else:
        console.print(f"--- {title}", markup=False, soft_wrap=True)


def summary(title: str, facts: Sequence[tuple[str, str]], next_command: str = "") -> None:
    """The end of a stage: label and value a line, in a box on a terminal, and the command that
    comes next.

    That stands alone on its line, unbroken: it is there to be copied.
    """
    if _quiet:
        return
    if _may_draw(console.is_terminal):
        from rich.panel import Panel
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for label, value in facts:
            table.add_row(Text(label), Text(value))
        console.print(
            Panel(table, title=Text(title, style="bold"), title_align="left", expand=False)
        )
    else:
        for line in (title, *(f"  {label}: {value}" for label, value in facts)):
            console.print(line, markup=False, soft_wrap=True)
    if next_command and _next_shown:
        console.print(f"next: {next_command}", style="bold", markup=False, soft_wrap=True)


@contextmanager
def next_hidden() -> Iterator[None]:
    """For a stage whose next one follows by itself."""
    global _next_shown
    _next_shown = False
    try:
        yield
    finally:
        _next_shown = True


def answer_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table that the user asked for, on standard output; its last column takes what is left of a
    terminal's width, or stands below each row where that is little.

    Elsewhere a line a row, unbroken, its columns aligned.
    """
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    if _may_draw(sys.stdout.isatty()):
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        screen = Console(highlight=False)
        if screen.width - sum(width + 2 for width in widths[:-1]) < min(_LEAST_LAST, widths[-1]):
            _print_below(screen, header, rows, widths)
            return
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for name in header:
            last = name == header[-1]
            table.add_column(name, no_wrap=not last, overflow="fold" if last else "ellipsis")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        screen.print(table)
        return
    for row in (header, *rows):
        answer(_aligned(row, widths))


def _print_below(
    screen: Console, header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]
) -> None:
    from rich.padding import Padding

    for row in (header, *rows):
        style = "bold" if row is header else ""
        screen.print(
            Text(_aligned(row[:-1], widths[:-1]), style), no_wrap=True, overflow="ellipsis"
        )
        if row[-1]:
            screen.print(Padding(Text(row[-1], style, overflow="fold"), (0, 0, 0, 4)))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def answer(text: str) -> None:
    """What the user asked for, on standard output: printed even with `--quiet`."""
    print(text, flush=True)


def warn(message: str) -> None:
    console.print(
        f"warning: {message}", style="yellow", markup=False, soft_wrap=not console.is_terminal
    )


def fail(message: str) -> None:
    """The one line that a command ends with where the user can mend it."""
    console.print(message, style="red", markup=False, soft_wrap=not console.is_terminal)


def _live_bar() -> Progress:
    # Imported where a bar is drawn: `--help` need not wait for it.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column

    class Clock(ProgressColumn):
        """`0:16, 0:42 left`; the time it took once it is done."""

        def render(self, task: Task) -> Text:
            elapsed = duration(task.finished_time if task.finished else task.elapsed)
            if task.finished:
                return Text(elapsed)
            return Text(f"{elapsed}, {duration(task.time_remaining)} left")

    return Progress(
        TextColumn(f"{{task.description:<{_TITLE_WIDTH}}}"),
        BarColumn(bar_width=_bar_width()),
        MofNCompleteColumn(),
        Clock(Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
    )


def duration(seconds: float | None) -> str:
    """`0:16`, `1:02:03`; `-:--` where it is not known."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
        if minutes >= 60
        else f"{minutes}:{rest:02d}"
    )


def _bar_width() -> int:
    # What the other columns leave of a narrow terminal; beyond 40 cells a bar says no more.
    return min(40, max(8, console.width - _TITLE_WIDTH - 52))


class Bar:
    """One progress bar; `advance` it, and put a short text (a loss, a count) behind it with
    `note`.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self._before = 0
        self._note = ""
        self._started = self._printed = time.monotonic()
        self._rich: Progress | None = None
        if _may_move(console.is_terminal) and not _quiet:
            self._rich = _live_bar()
            self._task = self._rich.add_task(title, total=total, note="")
            self._rich.start()

    def resume(self, done: int) -> None:
        """Say that `done` steps were made by an earlier run: they count as done, but not for the
        time left."""
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
            f"{self.title}: {self.done}/{self.total}, {duration(elapsed)}, {duration(left)} left {self._note}".rstrip(),
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
    """Yield `items` under a progress bar; of none nothing is shown."""
    if not total:
        yield from items
        return
    with progress(title, total) as bar:
        for item in items:
            yield item
            bar.advance()
