"""The teacher behind the page: ahead of a person, never in the way; and heads that propose."""

import dataclasses
import http.client
import threading
import time

import numpy as np
import pytest
import torch
from support.bright_squares import square
from support.label_run import Client, box_of, make_run, served
from support.painting_teacher import PaintingTeacher

from meddistill.data.boxes import clip_boxes
from meddistill.labelling import proposer
from meddistill.labelling.asking import GoneError, Turns, asked_until
from meddistill.labelling.labelled import Labelled
from meddistill.labelling.yielding import Yielding
from meddistill.run.dataset import Dataset
from meddistill.targets.encodings import EncodingStore


class SlowTeacher(PaintingTeacher):
    """Its encoder is forty layers that take a moment each."""

    def __init__(self):
        self.network = torch.nn.Sequential(*[Nap() for _ in range(40)])
        self.encoded_by = []

    def encode(self, images):
        self.network(torch.zeros(1))
        self.encoded_by.append(threading.current_thread().name)
        return super().encode(images)


class Nap(torch.nn.Module):
    def forward(self, value):
        time.sleep(0.01)
        return value


def until(true, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def teacher_of(client):
    return client.get("/api/news")["teacher"]


class Meeting(torch.nn.Module):
    """A layer that ends when the test says so."""

    def __init__(self):
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def forward(self, value):
        self.begun.set()
        assert self.go_on.wait(30)
        return value


def test_a_background_network_waits_for_a_person_between_layers():
    yielding = Yielding()
    ended = threading.Event()
    meeting = Meeting()

    def background():
        with yielding.background():
            torch.nn.Sequential(meeting, Nap())(torch.zeros(1))
            ended.set()

    thread = threading.Thread(target=background)
    try:
        thread.start()
        assert meeting.begun.wait(30)
        with yielding.foreground():
            meeting.go_on.set()
            Nap()(torch.zeros(1))  # a person's own network runs
            assert not ended.wait(0.3)  # the background's second layer does not
        assert ended.wait(30)
        thread.join(30)
    finally:
        yielding.close()
    Nap()(torch.zeros(1))  # nobody waits after the end


def test_images_are_encoded_ahead_and_once(tmp_path):
    teacher = SlowTeacher()
    with served(make_run(tmp_path, count=4), teacher) as running:
        client = Client(running)
        until(lambda: teacher_of(client)["encoded"] == 4)
        assert set(teacher.encoded_by) == {"teacher"}
        for number in range(4):
            assert client.ask("GET", f"/api/images/{number}/mask?box=1,1,9,9").status == 200
        assert len(teacher.encoded_by) == 4


def test_who_asked_last_is_next_and_who_has_gone_is_passed_over():
    turns = Turns()
    came, gone = [], threading.Event()

    def ask(name, until_then):
        with asked_until(until_then):
            try:
                with turns.next():
                    came.append(name)
            except GoneError:
                came.append(f"not {name}")

    threads = []
    with turns.next():
        for count, (name, event) in enumerate(
            [("first", threading.Event()), ("left", gone), ("last", threading.Event())], 1
        ):
            threads.append(threading.Thread(target=ask, args=(name, event)))
            threads[-1].start()
            until(lambda count=count: len(turns._waiting) == count)
        gone.set()
        until(lambda: came)
    for thread in threads:
        thread.join(30)
    assert came == ["not left", "last", "first"]


def test_what_nobody_waits_for_is_not_encoded_to_its_end(tmp_path):
    class Stopping(PaintingTeacher):
        """Encodes one image at a time; the first that a person asks for meets a slow layer."""

        def __init__(self):
            self.meeting, self.ended = Meeting(), []
            self.network = torch.nn.Sequential(self.meeting, torch.nn.Identity())

        def encode(self, images):
            if threading.current_thread().name != "teacher":
                self.network(torch.zeros(1))
            self.ended.append(threading.current_thread().name)
            return super().encode(images)

    teacher = Stopping()
    with served(make_run(tmp_path, count=4), teacher, order="listed") as running:
        client = Client(running)
        assistant = running.session.assistant
        until(lambda: teacher_of(client)["encoded"] == 4)
        for kept in (assistant.folder / "encodings").glob("*.npz"):
            kept.unlink()
        assistant._recent.clear()
        leaving = http.client.HTTPConnection("127.0.0.1", running.port)
        leaving.request("GET", "/api/images/2/encoding", headers=client.headers)
        assert teacher.meeting.begun.wait(30)
        client.draw(2)  # what is saved waits for nobody
        leaving.close()
        ended = len(teacher.ended)
        time.sleep(0.5)  # until the server has noticed
        teacher.meeting.go_on.set()
        until(lambda: not assistant._claimed)
        assert teacher.ended[ended:] == []
        assert client.ask("GET", "/api/images/2/mask?box=1,1,9,9").status == 200
        assert len(teacher.ended) == ended + 1


def test_people_encode_one_after_another(tmp_path):
    class Counting(PaintingTeacher):
        """How many encode at once, but for the background."""

        def __init__(self):
            self.at_once, self.most = 0, 0

        def encode(self, images):
            if threading.current_thread().name != "teacher":
                self.at_once += 1
                self.most = max(self.most, self.at_once)
                time.sleep(0.1)
                self.at_once -= 1
            return super().encode(images)

    teacher = Counting()
    with served(make_run(tmp_path, count=5), teacher) as running:
        client = Client(running)
        until(lambda: teacher_of(client)["encoded"] == 5)
        for kept in (running.session.assistant.folder / "encodings").glob("*.npz"):
            kept.unlink()
        running.session.assistant._recent.clear()
        asking = [
            threading.Thread(target=client.ask, args=("GET", f"/api/images/{number}/encoding"))
            for number in range(5)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(30)
        assert teacher.most == 1


def test_what_was_encoded_is_there_after_a_restart(tmp_path):
    run = make_run(tmp_path, count=3)
    with served(run) as running:
        client = Client(running)
        until(lambda: teacher_of(client)["encoded"] == 3)
    again = PaintingTeacher()
    with served(run, again) as running:
        client = Client(running)
        until(lambda: teacher_of(client)["encoded"] == 3)
        assert client.ask("GET", "/api/images/2/mask?box=1,1,9,9").status == 200
    assert again.images == 0


def test_an_image_that_is_being_encoded_is_waited_for_and_not_encoded_twice(tmp_path):
    teacher = SlowTeacher()
    with served(make_run(tmp_path, count=3), teacher, order="listed") as running:
        client = Client(running)
        busy = next(iter(until(lambda: set(running.session.assistant._claimed))))
        answer = client.ask("GET", f"/api/images/{int(busy)}/mask?box=1,1,9,9")
        assert answer.status == 200
        until(lambda: teacher_of(client)["encoded"] == 3)
    assert len(teacher.encoded_by) == 3


def test_an_image_that_cannot_be_read_does_not_stop_the_others(tmp_path):
    run = make_run(tmp_path, count=4)
    (run.data / "images/train/002.png").write_bytes(b"no image")
    with served(run, order="listed") as running:
        client = Client(running)
        until(lambda: teacher_of(client)["encoded"] == 4)
        assert client.ask("GET", "/api/images/3/mask?box=1,1,9,9").status == 200
        assert client.ask("GET", "/api/images/2/mask?box=1,1,9,9").status == 422


def test_on_a_full_disk_masks_are_shown_and_not_kept(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("meddistill.targets.encodings.atomic_path", full)
    monkeypatch.setattr("meddistill.colearning.answers.atomic_path", full)
    tried = []
    learn = proposer.Proposer.learn
    monkeypatch.setattr(proposer.Proposer, "learn", lambda *given: (tried.append(1), learn(*given)))
    with served(make_run(tmp_path, count=7)) as running:
        client = Client(running)
        until(lambda: teacher_of(client)["encoded"] == 7)
        for number in range(2, 7):
            client.draw(number)
        until(lambda: tried)
        assert client.ask("GET", "/api/images/6/mask?box=1,1,9,9").status == 200
        assert (teacher_of(client)["state"], teacher_of(client)["proposals"]) == ("ready", 0)
        assert running.session.assistant._thread.is_alive()
        assert len(tried) == 1  # and not again at once


def test_a_teacher_that_stops_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda given: None)  # its traceback is wanted
    monkeypatch.setattr("meddistill.labelling.proposer.feature_of", lambda encoded: np.zeros(3)[5])
    with served(make_run(tmp_path, count=3)) as running:
        client = Client(running)
        told = until(lambda: (found := teacher_of(client))["state"] == "failed" and found)
        assert told["message"].startswith("the teacher stopped: index 5 is out of bounds")
        assert client.ask("GET", "/api/images/2/mask?box=1,1,9,9").status == 503
        client.draw(2)


def test_of_one_patient_the_head_learns_from_every_picture(tmp_path, monkeypatch):
    learnt = []
    monkeypatch.setattr(
        proposer, "fit_head", lambda cells, steps, seed: learnt.append(len(cells.share))
    )
    data = Dataset.open(make_run(tmp_path, count=4).data)
    teacher = PaintingTeacher()
    made = proposer.Proposer(data, tmp_path / "teacher", teacher)
    boxed = [
        Labelled(
            dataclasses.replace(case, group="one"), {"lesion": np.array([box_of(n)], np.float32)}
        )
        for n, case in enumerate(data.cases)
    ]
    made.learn(boxed, EncodingStore(tmp_path / "encodings", teacher, 0))
    assert learnt == [sum(len(cells.share) for cells, _ in made._cells.values())]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Pictures 2 to 7 boxed: the heads have learnt, and nobody has looked at 8 to 11."""
    run = make_run(tmp_path_factory.mktemp("taught"), count=12)
    with pytest.MonkeyPatch.context() as patched, served(run) as running:
        patched.setattr(proposer, "_STEPS", 60)
        client = Client(running)
        until(lambda: teacher_of(client)["state"] == "ready")
        for number in range(2, 8):
            client.draw(number, box_of(number))
        until(lambda: teacher_of(client)["proposals"])
        yield client


def test_heads_propose_after_a_few_boxes(taught):
    told = teacher_of(taught)
    assert told["proposals"] >= 5
    assert told["head_dice"] > 0.8
    for number in range(8, 12):
        (proposed,) = taught.get(f"/api/images/{number}/proposals")["boxes"]
        assert np.allclose(proposed["xyxy"], box_of(number), atol=4), square(number)
        assert proposed["confidence"] > 0.5
        assert np.array_equal(
            clip_boxes(np.array([proposed["xyxy"]]), (64, 64))[0], proposed["xyxy"]
        )


def test_a_proposal_is_never_a_box_by_itself(taught):
    assert taught.get("/api/session")["statuses"][8:] == "oooo"
    assert taught.get("/api/images/8")["actions"] == []


def test_nothing_is_proposed_where_somebody_has_decided(taught):
    taught.act(11, "empty", finding="")
    assert taught.get("/api/images/11/proposals") == {"boxes": []}
