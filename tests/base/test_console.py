"""What a log file shows of a progress bar."""

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
