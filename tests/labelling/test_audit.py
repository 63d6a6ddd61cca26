"""Masks of test images, settled by a person: a Dice for who has no mask at all."""

import json

import numpy as np
import pytest
from support.bright_squares import square
from support.evaluation_data import BrightnessStudent
from support.label_maps import label_maps
from support.label_run import PORT, Client, box_of, give_student, make_run, served

from meddistill.base.errors import ConfigError, StageError
from meddistill.base.files import read_json
from meddistill.data.masks import read_mask
from meddistill.labelling.edits import Edit, apply_edits, read_edits
from meddistill.labelling.takeover import drawn_boxes
from meddistill.run.audits import audit_folder, read_audit
from meddistill.run.dataset import Dataset
from meddistill.run.layout import RunDir
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.evaluate import run_eval
from meddistill.stages.label import LabelRequest, labelling
from meddistill.stages.prepare import run_prepare

TESTS = 4


@pytest.fixture
def run(tmp_path, monkeypatch):
    run = make_run(tmp_path, count=8, test=0.5)
    give_student(run, monkeypatch)
    return run


@pytest.fixture
def client(run):
    with served(run, audit=3) as running:
        yield Client(running)


def settle(client, number, *edits, action_id=None):
    image = client.get(f"/api/images/{number}")["image"]
    action = {"id": action_id or f"a{number}-{len(edits)}", "image": image, "do": "audit"}
    return client.post("/api/actions", {**action, "audit": {"edits": list(edits)}})


def box_edit(xyxy, take="replace"):
    return {"kind": "box", "take": take, "points": list(xyxy)}


def index_of(client, number):
    return int(client.get("/api/session")["names"][number])


def test_random_test_images_are_shown_with_the_students_mask(client, run):
    about = client.get("/api/session")
    tests = [case.case_id for case in Dataset.open(run.data).of_split("test")]
    assert len(tests) == TESTS
    assert about["mode"] == "audit"
    assert len(about["names"]) == 3
    assert set(about["names"]) < set(tests)
    assert (about["statuses"], about["audit"]) == ("ooo", None)
    answer = client.ask("GET", "/api/images/0/student")
    assert answer.status == 200
    same = client.post("/api/images/0/edited", {"edits": []})
    assert same.content == answer.content


def test_accepted_and_corrected_masks_give_a_dice_and_are_kept(client, run):
    number = client.get("/api/next")["number"]
    assert settle(client, number).status == 200
    other = client.get("/api/next")["number"]
    x1, y1, x2, y2 = box_of(index_of(client, other))
    half = (x1, y1, x2, (y1 + y2) // 2)  # the truth is the upper half of what the student found
    assert settle(client, other, box_edit(half)).status == 200
    news = client.get("/api/news")
    assert sorted(news["statuses"]) == ["a", "c", "o"]
    assert news["counts"] == {"accepted": 1, "corrected": 1, "open": 1}
    assert news["audit"]["n"] == 2
    assert news["audit"]["dice"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    client.running.session.book.write_boxes()
    rows = read_audit(run.labels)
    names = client.get("/api/session")["names"]
    assert {row.verdict for row in rows.values()} == {"accepted", "corrected"}
    folder = audit_folder(run.labels)
    accepted, corrected = rows[names[number]], rows[names[other]]
    assert (read_mask(folder / accepted.mask) == square(index_of(client, number))[1]).all()
    settled = np.zeros((64, 64), bool)
    settled[half[1] : half[3], half[0] : half[2]] = True
    assert (read_mask(folder / corrected.mask) == settled).all()
    assert accepted.student == corrected.student != ""


def test_what_was_settled_stays_though_its_id_is_sent_again(client, run):
    settle(client, 0, action_id="once")
    before = (audit_folder(run.labels) / "once.png").read_bytes()
    assert settle(client, 0, {"kind": "clear"}, action_id="once").status == 200
    assert (audit_folder(run.labels) / "once.png").read_bytes() == before


def test_a_mask_of_another_student_is_not_settled(client, run):
    image, student = client.get("/api/images/0")["image"], client.get("/api/news")["student"]
    action = {"image": image, "do": "audit", "audit": {"edits": [], "student": student}}
    (run.student / "model.safetensors").write_text("{ }")  # trained anew, while somebody looked
    refused = client.post("/api/actions", {"id": "a1", **action})
    assert (refused.status, b"look at its mask" in refused.content) == (400, True)
    action["audit"]["student"] = client.get("/api/news")["student"]
    assert client.post("/api/actions", {"id": "a2", **action}).status == 200


def test_what_is_undone_does_not_count(client, run):
    settle(client, 0, {"kind": "clear"})
    assert client.get("/api/session")["statuses"][0] == "c"
    image = client.get("/api/images/0")["image"]
    client.post("/api/actions", {"id": "u1", "image": image, "do": "undo", "of": "a0-1"})
    assert client.get("/api/session")["statuses"][0] == "o"
    client.running.session.book.write_boxes()
    assert read_audit(run.labels) == {}


@pytest.mark.parametrize(
    "edits",
    [
        None,
        [{}],
        [{"kind": "file", "points": [1, 2]}],
        [{"kind": ["box"], "points": [1, 2, 3, 4]}],
        [{"kind": "box", "points": [1, 2, 3, 10**400]}],
        [{"kind": "box", "points": [5, 5, 5, 9]}],
        [{"kind": "box", "points": [5, 5, 9]}],
        [{"kind": "polygon", "points": [1, 2, 3, 4]}],
        [{"kind": "stroke", "points": [1, 1e300], "width": 3}],
        [{"kind": "stroke", "points": [1, 1], "width": 1e5}],
        [{"kind": "stroke", "take": "steal", "points": [1, 1]}],
        [{"kind": "clear"}] * 500,
    ],
)
def test_what_is_no_correction_is_refused(client, run, edits):
    assert client.post("/api/images/0/edited", {"edits": edits}).status == 400
    assert settle(client, 0, *(edits or [None])).status == 400
    assert not list(run.labels.glob("audit/*.png"))


def test_an_audit_draws_no_box_and_labelling_settles_no_mask(client, run, tmp_path):
    image = client.get("/api/images/0")["image"]
    box = {"id": "b", "xyxy": [1, 1, 9, 9], "finding": "lesion", "source": "drawn"}
    drawn = client.post("/api/actions", {"id": "d", "image": image, "do": "draw", "box": box})
    assert drawn.status == 400
    foreign = {"id": "f", "image": "images/x.png", "do": "audit", "audit": {"edits": []}}
    assert client.post("/api/actions", foreign).status == 400
    with served(run, user="ben") as running:
        assert settle(Client(running), 0).status == 400
        assert Client(running).post("/api/images/0/edited", {"edits": []}).status == 404


def test_without_a_teacher_masks_are_painted_and_no_box_is_answered(run):
    with labelling(run, LabelRequest(port=PORT, audit=2, teacher="none")) as running:
        client = Client(running)
        refused = settle(client, 0, box_edit((1, 1, 9, 9)))
        assert (refused.status, b"no teacher" in refused.content) == (400, True)
        assert (
            client.post("/api/images/0/edited", {"edits": [box_edit((1, 1, 9, 9))]}).status == 503
        )
        stroke = {"kind": "stroke", "take": "add", "points": [1, 1, 30, 30], "width": 5}
        assert settle(client, 0, stroke).status == 200


def test_labels_know_nothing_of_an_audit(client, run):
    settle(client, 0)
    assert drawn_boxes(run.labels) == {}
    client.running.session.book.write_boxes()
    assert len((run.labels / "boxes.csv").read_text().splitlines()) == 1


def test_a_larger_audit_goes_on_with_a_smaller_ones_images(run):
    with served(run, audit=2) as running:
        first = Client(running).get("/api/session")["names"]
        settle(Client(running), 0)
    with served(run, audit=30) as running:
        about = Client(running).get("/api/session")
    assert about["names"][:2] == first
    assert len(about["names"]) == TESTS
    assert about["statuses"] == "aooo"


def test_the_figures_are_in_the_report(run, capsys):
    with served(run, audit=3) as running:
        client = Client(running)
        for number in range(3):
            x1, y1, x2, y2 = box_of(index_of(client, number))
            settle(client, number, *([box_edit((x1, y1, x2, (y1 + y2) // 2))] if number else []))
    out = run_eval(run, EvalConfig(), seed=0, predictor=BrightnessStudent())
    summary = read_json(out / "summary.json")
    assert summary["audit"] == {"cases": 3, "accepted": 1, "corrected": 2, "students": 1}
    assert (summary["n_cases"], summary["n_scored"]) == (TESTS, 3)
    spread = summary["methods"]["student"]["metrics"]["dice"]
    assert spread["mean"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert spread["ci95"]
    told = "people settled on 3 of 4 cases, beginning from a student&#39;s: 1 accepted as they were"
    assert told in (out / "report.html").read_text()
    assert "1 accepted as they were, 2 corrected" in capsys.readouterr().err
    with served(run, audit=4) as running:
        settle(Client(running), 3)
    with pytest.raises(StageError, match="--overwrite"):
        run_eval(run, EvalConfig(), seed=0, predictor=BrightnessStudent())


def test_what_was_settled_just_before_a_kill_is_judged_by(client, run):
    settle(client, 0)
    client.running.session.book.write_boxes()
    settle(client, 1, box_edit((1, 1, 9, 9)))  # audit.csv, which follows the journal, lacks it
    assert len(read_audit(run.labels)) == 1
    out = run_eval(run, EvalConfig(), seed=0, predictor=BrightnessStudent())
    assert read_json(out / "summary.json")["audit"]["cases"] == 2


def test_an_audit_without_its_journals_is_judged_by_its_table(run):
    with served(run, audit=3) as running:
        settle(Client(running), 0)
    (run.labels / "me.jsonl").unlink()
    out = run_eval(run, EvalConfig(), seed=0, predictor=BrightnessStudent())
    assert read_json(out / "summary.json")["audit"]["cases"] == 1


def test_it_needs_a_student_and_test_images(tmp_path, monkeypatch):
    run = make_run(tmp_path, count=4, test=0.5)
    with pytest.raises(StageError, match="run `meddistill distill"), served(run, audit=3):
        pass
    with pytest.raises(ConfigError, match="how many test masks"), served(run, audit=-1):
        pass
    with (
        pytest.raises(ConfigError, match="--train learns"),
        labelling(run, LabelRequest(audit=3, train=True)),
    ):
        pass
    (tmp_path / "none").mkdir()
    bare = make_run(tmp_path / "none", count=4)
    give_student(bare, monkeypatch)
    with pytest.raises(StageError, match="no test case to audit"), served(bare, audit=3):
        pass


# ---- corrections, on masks that one can draw


def drawn(*edits, start=None):
    mask = np.zeros((8, 10), bool) if start is None else start
    return apply_edits(mask, [Edit(*edit) for edit in edits], None).astype(int)


def test_a_polygon_adds_and_removes():
    whole = drawn(("polygon", "add", (2, 1, 6, 1, 6, 4, 2, 4)))
    assert whole.sum() == 12
    assert whole[1:4, 2:6].all()
    left = drawn(
        ("polygon", "add", (2, 1, 6, 1, 6, 4, 2, 4)),
        ("polygon", "remove", (2, 1, 4, 1, 4, 4, 2, 4)),
    )
    assert left.sum() == left[1:4, 4:6].sum() == 6


def test_a_stroke_is_as_wide_as_its_brush():
    line = drawn(("stroke", "add", (1.5, 4.5, 8.5, 4.5), 1.0))
    assert line.sum() == line[4, 1:9].sum() == 8
    assert drawn(("stroke", "add", (5.5, 4.5), 3.0)).sum() == 9
    assert drawn(("stroke", "remove", (0, 0, 10, 8), 40.0), start=np.ones((8, 10), bool)).sum() == 0
    assert drawn(("stroke", "add", (-900.0, -900.0, 900.0, 900.0), 1.0)).any()


def test_clear_begins_anew():
    assert drawn(("clear",), start=np.ones((8, 10), bool)).sum() == 0


def test_edits_come_back_as_they_were_sent():
    sent = [{"kind": "stroke", "take": "remove", "points": [1, 2.5], "width": 4}]
    assert read_edits(json.loads(json.dumps(sent))) == (Edit("stroke", "remove", (1.0, 2.5), 4.0),)


def test_an_audit_is_of_one_finding(tmp_path):
    run = RunDir(tmp_path / "run")
    source = str(label_maps(tmp_path / "source"))
    run_prepare(run, PrepareConfig(source=source, findings=["liver=1", "tumour=2"]), seed=0)
    request = LabelRequest(audit=3, teacher="none", browser=False)
    with (
        pytest.raises(ConfigError, match=r"one finding, .* has liver, tumour"),
        labelling(run, request),
    ):
        pass
