"""A RUN to label: bright squares on dark pictures, one of them boxed, one of them empty; its server;
and a client that speaks to it."""

import dataclasses
import http.client
import json
import os
import secrets
from contextlib import contextmanager

import numpy as np
from support.bright_squares import square, write_squares
from support.painting_teacher import PaintingTeacher

from meddistill.base.csv_tables import write_table
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import Preprocessing
from meddistill.run.layout import MODEL_SAFETENSORS, RUN_JSON, RunDir
from meddistill.run.tables import Case, read_cases
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.label import LabelRequest, labelling
from meddistill.stages.prepare import run_prepare
from meddistill.student.student import Prediction

PORT = 10_000 + 50 * (os.getpid() % 400)
"""From which a server of this process takes a port: two runs of the tests at once do not meet."""
GIVEN, EMPTY = 0, 1
"""Numbers of the pictures that somebody looked at before."""


def make_source(root, count=8):
    """`images/` and boxes.csv; returns its folder."""
    write_squares(root / "drawn", count)
    source = root / "source"
    source.mkdir()
    (root / "drawn" / "images").rename(source / "images")
    lines = ["image,x1,y1,x2,y2", f"{GIVEN:03d}.png,{','.join(map(str, box_of(GIVEN)))}"]
    (source / "boxes.csv").write_text("\n".join([*lines, f"{EMPTY:03d}.png,,,,", ""]))
    return source


def box_of(index):
    """Around the square of picture number `index`, px."""
    rows, columns = square(index)[1].nonzero()
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def make_run(root, count=8, test=0.0):
    """Prepared; without a test fraction every picture is for training, in the order of its number."""
    source = make_source(root, count)
    run = RunDir(root / "run")
    run_prepare(run, config_of(source, test), seed=0)
    return run


def make_deep_run(root):
    """Prepared of three 16-bit pictures, the first two slices 9 and 8 of a volume; and the values
    of the first, which of each later one are larger by one."""
    deep = np.random.default_rng(0).integers(0, 4000, (32, 40)).astype(np.uint16)
    for number in range(3):
        write_png(root / "source/images" / f"{number:03d}.png", deep + number)
    run = RunDir(root / "run")
    run_prepare(run, config_of(root / "source"), seed=0)
    rows = read_cases(run.data)
    stack = [dataclasses.replace(case, volume="v", slice=9 - n) for n, case in enumerate(rows[:2])]
    write_table(run.data / "cases.csv", Case, [*stack, rows[2]])
    return run, deep


def config_of(source, test=0.0):
    return PrepareConfig(source=str(source), test_fraction=test, val_fraction=0.0, duplicate_bits=0)


@contextmanager
def served(run, teacher=None, port=PORT, **request):
    """The page, served; with a teacher that paints boxes unless another is given."""
    with labelling(
        run, LabelRequest(port=port, **request), teacher or PaintingTeacher()
    ) as running:
        yield running


class BrightStudent:
    """Its mask is what is bright: right on every picture of a square."""

    preprocessing = Preprocessing()

    def predict(self, image):
        bright = image[..., 0] > 128
        return Prediction(bright.astype(np.uint8) * 255, bright.astype(np.float32))


def give_student(run, monkeypatch):
    """Let RUN have a finished student, which sees brightness."""
    run.student.mkdir(parents=True, exist_ok=True)
    for name in (RUN_JSON, MODEL_SAFETENSORS):
        (run.student / name).write_text("{}")
    monkeypatch.setattr("meddistill.student.student.load_student", lambda folder: BrightStudent())


class Client:
    """Speaks to a server as its page does. `headers`: sent with every request."""

    def __init__(self, running):
        self.running = running
        host = f"127.0.0.1:{running.port}"
        self.headers = {"Host": host}
        answer = self.ask("GET", "/?" + running.address.split("?")[1])
        assert answer.status == 303
        self.set_cookie = answer.headers["set-cookie"]
        self.headers["Cookie"] = self.set_cookie.split(";")[0]
        self.origin = f"http://{host}"

    def ask(self, method, path, body=None, headers=None):
        """A whole answer: `status`, `headers`, `content`. A header of None is left out."""
        sent = {**self.headers, **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None and "Content-Length" not in sent:
                sent["Content-Length"] = str(len(body))
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            answer.content = answer.read()
            return answer
        finally:
            connection.close()

    def get(self, path):
        answer = self.ask("GET", path)
        assert answer.status == 200, (path, answer.status, answer.content)
        return json.loads(answer.content)

    def post(self, path, content, headers=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        sent = {"Origin": self.origin, "Content-Type": "application/json", **(headers or {})}
        return self.ask("POST", path, body, sent)

    def act(self, number, kind, **fields):
        """Do something to an image; returns the action's id."""
        action_id = fields.pop("id", secrets.token_hex(8))
        image = f"images/{number:03d}.png"
        answer = self.post("/api/actions", {"id": action_id, "image": image, "do": kind, **fields})
        assert answer.status == 200, answer.content
        return action_id

    def draw(self, number, xyxy=(8, 8, 24, 24), box_id="b1", source="drawn", finding="lesion"):
        box = {"id": box_id, "xyxy": list(xyxy), "finding": finding, "source": source}
        return self.act(number, "draw", box=box)
