"""Short rounds of training while one labels."""

import fcntl
import json
import time

import pytest
from support.label_run import Client, make_run, served

from meddistill.base.errors import InputError, StageError
from meddistill.labelling import rounds
from meddistill.labelling.rounds import CurvePoint, Rounds, read_point, rounds_run, run_command
from meddistill.run.dataset import Dataset
from meddistill.run.lock import lock_path
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare

TOLD = "would likely help: from half ..."


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, count=6)


@pytest.fixture(autouse=True)
def _no_nap(monkeypatch):
    monkeypatch.setattr(rounds, "_NAP_S", 0.01)


class Commands:
    """Stands in for the program: remembers what it was told, and leaves a student."""

    def __init__(self, place, fails=""):
        self.place, self.fails, self.told = place, fails, []

    def __call__(self, arguments, started):
        self.told.append(arguments)
        if arguments[0] == "distill" and not self.fails:
            results = {
                "agreement": 0.5,
                "more_boxes": {"dice": 0.6, "half_dice": 0.5, "told": TOLD},
            }
            self.place.student.mkdir(parents=True)
            (self.place.student / "run.json").write_text(json.dumps({"results": results}))
        return self.fails


def until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_round_begins_with_enough_boxes_and_adds_to_the_curve(run):
    boxed = [9]
    commands = Commands(rounds_run(run))
    training = Rounds(run, "litemedsam", lambda: boxed[0], commands)
    training.start()
    try:
        time.sleep(0.1)
        assert commands.told == []
        assert training.told() == {"state": "waiting", "message": "", "next_at": 10, "points": []}
        boxed[0] = 12
        until(lambda: training.points)
    finally:
        training.end()
    assert [told[0] for told in commands.told] == ["prepare", "distill"]
    assert "distill.image_size=128" in commands.told[1]
    assert training.points == [CurvePoint(12, 0.5, 0.6, 0.5, TOLD)]
    assert training.next_at() == 22
    again = Rounds(run, "litemedsam", lambda: 0, commands)
    assert again.points == training.points
    assert not list(rounds_run(run).data.glob("masks"))


def test_two_people_do_not_train_in_one_place(run):
    place = rounds_run(run).root
    place.parent.mkdir()
    with lock_path(place).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        training = Rounds(run, "x", lambda: 30, Commands(rounds_run(run)))
        with pytest.raises(StageError, match="label without --train"):
            training.start()
        with pytest.raises(StageError, match="label without --train"), served(run, train=True):
            pass
    training.start()
    until(lambda: training.points)
    training.end()
    assert not lock_path(place).exists()


def test_a_round_that_fails_is_told_and_labelling_goes_on(run):
    training = Rounds(run, "x", lambda: 30, Commands(rounds_run(run), fails="error: no teacher"))
    training.start()
    until(lambda: training.state == "failed")
    training.end()
    assert training.message == "a round of training stopped: error: no teacher"


def test_the_round_learns_what_was_drawn_and_leaves_the_run_alone(run):
    before = {path: path.read_bytes() for path in run.data.rglob("*") if path.is_file()}
    with served(run, train=True) as running:
        client = Client(running)
        assert client.get("/api/news")["rounds"]["state"] == "waiting"
        client.draw(3)
        running.session.rounds._lay_out()
    place = rounds_run(run)
    run_prepare(place, PrepareConfig(), seed=0, update=True)
    assert Dataset.open(place.data).by_id["003"].annotation == "boxes"
    assert {path: path.read_bytes() for path in run.data.rglob("*") if path.is_file()} == before
    assert (place.teacher / "encodings").resolve() == (run.teacher / "encodings").resolve()


def test_a_command_that_fails_says_its_last_line(run):
    said = run_command(["distill", str(run.root), "--teacher", "nobody"], lambda process: None)
    assert "teacher 'nobody' is not known" in said


def test_a_command_is_ended_with_the_page(run):
    assert run_command(["--help"], lambda process: process.terminate())


def test_without_a_student_there_is_no_point(run):
    with pytest.raises(InputError, match=r"run\.json does not exist"):
        read_point(rounds_run(run), 3)
