"""What a log file shows of a progress bar."""

import re
import sys

import pytest

from meddistill.base import console


def test_steps_of_an_earlier_run_do_not_shorten_the_time_left(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress("teacher", 1000) as bar:
        bar.resume(900)
        now[0] += 10
        bar.advance(10)  # a second a step, 90 steps to go
    assert "teacher: 910/1000, 0:10, 1:30 left" in capsys.readouterr().err


def test_a_bar_without_a_step_says_no_time(capsys):
    with console.progress("teacher", 10):
        pass
    assert "0/10, 0:00, -:-- left" in capsys.readouterr().err


def test_of_nothing_no_line_is_shown(capsys):
    assert list(console.track([], "validation", 0)) == []
    assert not capsys.readouterr().err
    assert list(console.track([1, 2], "validation", 2)) == [1, 2]
    assert "validation: 2/2" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [60, 200])
def test_a_narrow_terminal_has_the_last_column_below_each_row(capsys, monkeypatch, columns):
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    facts = "; ".join(f"fact {number}" for number in range(12))
    rows = [
        ("student", "outdated", "2026-01-01 00:00", "0:02", facts),
        ("eval", "missing", *3 * [""]),
    ]
    console.answer_table(("stage", "state", "when", "took", "what came out"), rows)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    if columns == 200:
        assert any("student" in line and "fact 11" in line for line in shown)
        return
    assert [line.rstrip() for line in shown[:3]] == [
        "stage    state     when              took",
        "    what came out",
        "student  outdated  2026-01-01 00:00  0:02",
    ]
    assert max(map(len, shown)) <= 60
    assert all(line.startswith("    fact") for line in shown[3:-1])
    assert shown[-1].split() == ["eval", "missing"]
    assert len(shown) == 6
