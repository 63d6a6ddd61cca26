"""The end of a stage: a box on a terminal, a line a fact elsewhere; and a command that can be
pasted."""

import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from meddistill.base import console
from meddistill.base.errors import InputError
from meddistill.run.headlines import headline
from meddistill.run.layout import RunDir
from meddistill.run.next_commands import after_detect, after_distill, after_prepare
from meddistill.run.tables import Case

FACTS = [
    ("cases", "6 (train 2, val 2, test 2)"),
    ("report", "runs/mine/" + "long/" * 14 + "report.html"),
]
RUN = RunDir(Path("my runs/a"))


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 80 columns; what it shows."""
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown = io.StringIO()
    monkeypatch.setattr(
        console, "console", Console(file=shown, force_terminal=True, color_system=None, width=80)
    )
    return shown


def test_on_a_terminal_it_is_a_box_that_fits(screen):
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    lines = screen.getvalue().splitlines()
    assert lines[0].startswith("╭─ prepare ─")
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "next: meddistill detect runs/mine"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("CI", "true"), ("TERM", "dumb")])
def test_where_plain_text_is_asked_for_nothing_is_drawn(screen, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    assert screen.getvalue().isascii()
    assert screen.getvalue().splitlines() == [
        "prepare",
        "  cases: 6 (train 2, val 2, test 2)",
        f"  report: {FACTS[1][1]}",
        "next: meddistill detect runs/mine",
    ]


def test_a_log_has_a_line_a_fact(capsys):
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[1:3] == [
        "  cases: 6 (train 2, val 2, test 2)",
        f"  report: {FACTS[1][1]}",
    ]


def test_quiet_says_nothing(screen, monkeypatch):
    monkeypatch.setattr(console, "_quiet", True)
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    assert screen.getvalue() == ""


def test_a_stage_in_a_row_names_no_next_one(capsys):
    with console.next_hidden():
        console.summary("prepare", FACTS, "meddistill detect runs/mine")
    assert "next" not in capsys.readouterr().err
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    assert "next: meddistill detect" in capsys.readouterr().err


def cases_of(*annotations):
    """Training cases."""
    return [
        Case(str(n), "train", "", "", each, True, "", 8, 8, int(each == "boxes"), "", "", "")
        for n, each in enumerate(annotations)
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (after_prepare(RUN, RUN.data, cases_of("boxes")), ["detect", "my runs/a"]),
        (
            after_prepare(RUN, Path("other data"), cases_of("boxes", "none")),
            ["detect", "my runs/a", "--data", "other data"],
        ),
        (after_prepare(RUN, RUN.data, cases_of("boxes", "unknown")), ["distill", "my runs/a"]),
        (after_prepare(RUN, RUN.data, cases_of("unknown")), ["label", "my runs/a"]),
        (after_detect(RUN, RUN.detector), ["distill", "my runs/a"]),
        (
            after_detect(RUN, Path("d"), Path("other data")),
            ["distill", "my runs/a", "--data", "other data", "--boxes", "d/boxes.csv"],
        ),
        (after_distill(RUN, RUN.student), ["eval", "my runs/a"]),
        (
            after_distill(RUN, RUN.root / "student-b"),
            ["eval", "my runs/a", "--student", "my runs/a/student-b", "--out", "my runs/a/eval-b"],
        ),
    ],
)
def test_the_next_command_can_be_pasted(line, words):
    assert shlex.split(line) == ["meddistill", *words]


def test_results_of_another_shape_are_one_line():
    with pytest.raises(InputError, match="its results are not those of detect"):
        headline("detect", {"confidence": "high"})
    assert headline("a stage of a later version", {"anything": 1}) == []
