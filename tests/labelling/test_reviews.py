"""Where student and teacher disagree."""

import time

import numpy as np
import pytest
from support.label_run import (
    EMPTY,
    GIVEN,
    BrightStudent,
    Client,
    box_of,
    give_student,
    make_run,
    served,
)

from meddistill.student.student import Prediction


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, count=5)


def sheet(client, rows=5):
    deadline = time.monotonic() + 60
    while len((found := client.get("/api/review"))["rows"]) < rows:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_what_agrees_least_comes_first(run, monkeypatch):
    give_student(run, monkeypatch)
    with served(run) as running:
        client = Client(running)
        x1, y1, x2, y2 = box_of(2)
        client.draw(2, (x1, y1, x2, (y1 + y2) // 2))
        found = sheet(client)
        assert found["of"] == 5
        assert [row["agreement"] for row in found["rows"]] == [0, 0.667, 1, 1, 1]
        worst, half, *others = found["rows"]
        assert worst["number"] == EMPTY  # nothing there, says a person; the student sees a square
        assert (worst["status"], worst["trust"]) == ("empty", None)
        assert (half["number"], half["status"], half["findings"]) == (2, "boxed", ["lesion"])
        assert half["trust"] == 0.9
        assert half["boxes"] == [box_of(2)]
        assert {row["number"] for row in others} == {GIVEN, 3, 4}
        client.draw(2, box_of(2), box_id="b1")  # drawn anew
        deadline = time.monotonic() + 60
        while (
            next(r for r in client.get("/api/review")["rows"] if r["number"] == 2)["agreement"] < 1
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        tile = client.ask("GET", "/api/images/2/tile")
        assert (tile.status, tile.content[:2]) == (200, b"\xff\xd8")


def test_where_nobody_looked_and_the_student_finds_nothing_no_agreement_is_told(run, monkeypatch):
    give_student(run, monkeypatch)
    nothing = Prediction(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.float32))
    monkeypatch.setattr(BrightStudent, "predict", lambda student, image: nothing)
    with served(run) as running:
        rows = sheet(Client(running))["rows"]
        told = {row["number"]: row["agreement"] for row in rows}
        assert told == {GIVEN: 0, EMPTY: 1, 2: None, 3: None, 4: None}
        assert [row["number"] for row in rows] == [GIVEN, EMPTY, 2, 3, 4]


def test_a_student_that_is_being_trained_anew_is_none(run, monkeypatch):
    give_student(run, monkeypatch)
    (run.student / "model.safetensors").unlink()
    with served(run) as running:
        assert Client(running).get("/api/news")["student"] == ""


def test_a_new_student_is_looked_at_anew(run, monkeypatch):
    give_student(run, monkeypatch)
    with served(run) as running:
        client = Client(running)
        first = sheet(client)["student"]
        (run.student / "model.safetensors").write_text("{ }")
        assert client.get("/api/news")["student"] != first
        assert sheet(client)["student"] != first


def test_without_a_student_there_is_nothing_to_review(run):
    with served(run) as running:
        client = Client(running)
        assert client.get("/api/news")["student"] == ""
        assert client.get("/api/review")["rows"] == []
        answer = client.ask("GET", "/api/images/2/student")
        assert (answer.status, b"run `meddistill distill`" in answer.content) == (422, True)


def test_an_image_that_cannot_be_read_is_passed_over(run, monkeypatch):
    give_student(run, monkeypatch)
    (run.data / "images/train/003.png").write_bytes(b"no image")
    with served(run) as running:
        assert 3 not in {row["number"] for row in sheet(Client(running), rows=4)["rows"]}
