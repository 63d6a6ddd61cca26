"""Boxes that people drew come into RUN/data, and nothing else there is made again."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from support.label_run import EMPTY, GIVEN, box_of, config_of, make_run, make_source

from meddistill.base.errors import InputError, StageError
from meddistill.data.findings import LESION, Findings
from meddistill.data.prepare.relabel import DrawnImage
from meddistill.labelling import into_data
from meddistill.labelling.actions import Action, Box
from meddistill.labelling.book import LabelBook
from meddistill.labelling.takeover import drawn_boxes, fingerprint_labels
from meddistill.run.dataset import Dataset
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import RunDir
from meddistill.run.tables import read_cases
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare
from meddistill.stages.verify import run_verify

BOX = (8, 8, 24, 40)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    root = tmp_path_factory.mktemp("takeover")
    make_run(root, count=6)
    return root


@pytest.fixture
def run(tmp_path, begun):
    shutil.copytree(begun, tmp_path / "copy")
    return RunDir(tmp_path / "copy" / "run")


def source(run):
    return run.root.parent / "source"


def label(run, *actions, findings=("lesion",)):
    """Do (number, kind, fields) to images."""
    book = LabelBook(run.labels, Dataset.open(run.data), findings)
    for number, kind, fields in actions:
        action_id = f"{kind}-{number}-{book.version}"
        book.save(Action(action_id, f"images/{number:03d}.png", kind, **fields))
    book.close()


def draw(number, box_id="b1", box=BOX, finding="lesion"):
    return number, "draw", {"box": Box(box_id, box, finding)}


def update(run, **settings):
    return run_prepare(run, PrepareConfig(**settings), seed=0, update=True)


def annotations(run):
    return {case.case_id: (case.annotation, case.n_boxes) for case in Dataset.open(run.data).cases}


def content(run):
    """Every file of RUN/data but what says when, and what was converted."""
    left_out = ("run.json", "converted.jsonl", "source_index.csv", "report.html")
    files = (path for path in sorted(run.data.rglob("*")) if path.is_file())
    return {
        path.relative_to(run.data): path.read_bytes() for path in files if path.name not in left_out
    }


def test_what_was_drawn_is_in_the_data(run):
    before = {path: path.stat().st_mtime_ns for path in run.data.rglob("*.png")}
    label(run, draw(2), draw(2, "b2", (30, 30, 50, 50)), (3, "empty", {}), (4, "unsure", {}))
    update(run)
    assert annotations(run) == {
        "000": ("boxes", 1), "001": ("none", 0), "002": ("boxes", 2), "003": ("none", 0),
        "004": ("unknown", 0), "005": ("unknown", 0),
    }  # fmt: skip
    data = Dataset.open(run.data)
    boxes = data.boxes(data.by_id["002"])
    assert np.allclose(boxes, [BOX, (30, 30, 50, 50)], atol=0.01)
    assert (run.data / "labels/train/003.txt").read_text() == ""
    assert not (run.data / "labels/train/004.txt").exists()
    assert "002.png" in (run.data / "train.txt").read_text()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    run_verify(run)
    results = json.loads((run.data / "run.json").read_text())["results"]
    assert results["splits"]["train"]["boxes"] == 2
    assert results["boxes"]["boxes"] == 3


def test_what_was_known_before_can_be_changed_and_taken_back(run):
    label(run, (GIVEN, "delete", {"box_id": "given-0"}), draw(EMPTY))
    update(run)
    assert annotations(run)["000"] == ("unknown", 0)
    assert annotations(run)["001"] == ("boxes", 1)
    assert not (run.data / "labels/train/000.txt").exists()
    label(run, (GIVEN, "undo", {"of": f"delete-{GIVEN}-0"}))
    update(run)
    assert annotations(run)["000"] == ("boxes", 1)


def test_with_the_source_it_comes_to_the_same(run, tmp_path):
    label(run, draw(2), (3, "empty", {}), (GIVEN, "move", {"box_id": "given-0", "xyxy": BOX}))
    shutil.copytree(run.root.parent, tmp_path / "other")
    update(run)
    other = RunDir(tmp_path / "other" / "run")
    run_prepare(other, config_of(source(other)), seed=0, update=True)
    assert content(run) == content(other)
    first, second = (json.loads((each.data / "run.json").read_text()) for each in (run, other))
    for key in ("settings", "inputs", "results", "outputs"):
        assert first[key] == second[key], key


def test_a_box_that_slipped_is_told_until_it_is_mended(run, capsys):
    label(run, draw(2), draw(3), draw(4, "slip", (8, 8, 24, 10)))
    update(run)
    said = "1 of 4 boxes is absurdly small beside the others"
    assert said in (told := capsys.readouterr().err)
    assert "images/004.png: 16x2 px" in told
    assert said in (run.data / "report.html").read_text()
    label(run, (4, "move", {"box_id": "slip", "xyxy": BOX}))
    update(run)
    assert "absurdly" not in capsys.readouterr().err
    assert "absurdly" not in (run.data / "run.json").read_text()


def test_afterwards_prepare_has_nothing_to_do(run, capsys):
    label(run, draw(2))
    update(run)
    capsys.readouterr()
    run_prepare(run, config_of(source(run)), seed=0)
    assert "nothing to do" in capsys.readouterr().err
    update(run)
    assert "has all that is in" in capsys.readouterr().err


def test_new_images_and_new_boxes_come_together(run):
    label(run, draw(2))
    shutil.copy(source(run) / "images/002.png", source(run) / "images/099.png")
    run_prepare(run, config_of(source(run)), seed=0, update=True)
    assert annotations(run)["002"] == ("boxes", 1)
    assert annotations(run)["099"] == ("unknown", 0)


def test_drawn_boxes_survive_overwrite(run):
    label(run, draw(2))
    run_prepare(run, config_of(source(run)), seed=0, overwrite=True)
    assert annotations(run)["002"] == ("boxes", 1)


def test_without_update_it_says_what_to_type(run):
    label(run, draw(2))
    with pytest.raises(StageError, match=r"boxes were drawn since .* --update` takes them over"):
        run_prepare(run, config_of(source(run)), seed=0)
    assert annotations(run)["002"] == ("unknown", 0)


def test_a_killed_takeover_is_done_again(run, monkeypatch):
    label(run, draw(2))

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(into_data, "renew", stop)
        with pytest.raises(KeyboardInterrupt):
            update(run)
    update(run)
    assert annotations(run)["002"] == ("boxes", 1)
    run_verify(run)


def test_without_labels_or_source_it_says_what_to_give(run):
    with pytest.raises(InputError, match=r"no source given, and .* holds no box"):
        update(run)


def test_labels_of_another_run_are_told(run, capsys):
    run.labels.mkdir()
    line = {"id": "a1", "t": 1, "image": "images/other.png", "do": "empty", "finding": ""}
    text = f'{{"meddistill_labels": 1}}\n{json.dumps(line)}\n'
    (run.labels / "me.jsonl").write_text(text)
    update(run)
    assert "names 1 images that" in capsys.readouterr().err


def test_what_is_drawn_by_several_findings(tmp_path):
    lines = [
        {"meddistill_labels": 1},
        {"id": "a1", "t": 1, "image": "a", "do": "empty", "finding": "cyst"},
        {"id": "a2", "t": 2, "image": "b", "do": "empty", "finding": ""},
        {"id": "a3", "t": 3, "image": "c", "do": "draw",
         "box": {"id": "b", "xyxy": [1, 2, 3, 4], "finding": "tumour", "source": "drawn"}},
    ]  # fmt: skip
    (tmp_path / "me.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    drawn = drawn_boxes(tmp_path)
    both = Findings(("tumour", "cyst"))
    known = {image: each.of(LESION) for image, each in drawn.items()}
    assert {image: each and each.boxes for image, each in known.items()} == {
        "a": None,
        "b": (),
        "c": ((1, 2, 3, 4),),
    }  # fmt: skip - of `a` the tumour is unknown
    assert drawn["a"].of(both) == DrawnImage(looked_for=("cyst",))
    assert drawn["b"].of(both) == DrawnImage(looked_for=("tumour", "cyst"))
    assert drawn["c"].of(both) == DrawnImage(((1, 2, 3, 4),), ("tumour",), ("tumour",))
    assert drawn["c"].of(Findings(("cyst", "stone"))) is None
    for findings in (LESION, both):
        other = {**drawn, "a": DrawnImage()}
        assert fingerprint_labels(drawn, findings) != fingerprint_labels(other, findings)
    assert drawn_boxes(tmp_path / "none") == {}


def two_findings(root):
    """A RUN in which red was boxed on one picture, and looked for there alone."""
    source = make_source(root, 6)
    boxes = f"image,x1,y1,x2,y2,class\n000.png,{','.join(map(str, box_of(0)))},red\n"
    (source / "boxes.csv").write_text(boxes + f"005.png,{','.join(map(str, box_of(5)))},green\n")
    rows = (f"{index:03d},g{index},{'red' if index == 0 else ''}" for index in range(6))
    (source / "groups.csv").write_text("id,group,findings\n" + "\n".join(rows) + "\n")
    config = dataclasses.replace(config_of(source), findings=["red", "green"])
    run = RunDir(root / "run")
    run_prepare(run, config, seed=0)
    return run, config


def test_boxes_of_several_findings_are_taken_over_by_name(tmp_path, capsys):
    run, config = two_findings(tmp_path)
    steps = [draw(2, "b1", finding="green"), draw(2, "b2", (30, 30, 50, 50), finding="red")]
    steps += [draw(3, "b3", finding="green"), (4, "empty", {"finding": "red"})]
    steps += [(0, "empty", {"finding": "green"}), draw(1, "b4", finding="blue")]
    label(run, *steps, findings=("red", "green", "blue"))
    other = RunDir(tmp_path / "other")
    shutil.copytree(run.root, other.root)
    update(run)
    run_prepare(other, config, seed=0, update=True)
    assert "1 boxes of findings that this RUN does not have" in " ".join(
        capsys.readouterr().err.split()
    )
    for each in (run, other):
        known = {case.case_id: case for case in read_cases(each.data)}
        assert {name: (case.annotation, case.findings) for name, case in known.items()} == {
            "000": ("boxes", ""), "001": ("unknown", ""), "002": ("boxes", ""),
            "003": ("boxes", "green"), "004": ("none", "red"), "005": ("boxes", ""),
        }  # fmt: skip
        boxes, which = annotated_findings(each.data, known["002"])
        assert np.allclose(boxes, [(30, 30, 50, 50), BOX], atol=0.01)
        assert which.tolist() == [0, 1]
    assert content(run) == content(other)
    told = json.loads((run.data / "run.json").read_text())["results"]["findings"]
    assert told["green"]["train"] == {"boxes": 3, "cases": 3, "none": 1, "unknown": 2}


def test_nothing_there_is_about_what_was_looked_for(tmp_path):
    """Of a finding that nobody ever drew, too; and of none that this person did not look for."""
    run, _ = two_findings(tmp_path)
    label(run, (1, "empty", {}), (2, "unsure", {}), findings=("red", "green"))
    label(run, (3, "empty", {}), (5, "empty", {}), findings=("red",))
    update(run)
    known = {case.case_id: (case.annotation, case.findings) for case in read_cases(run.data)}
    assert known["001"] == ("none", "")
    assert known["002"] == ("unknown", "")
    assert known["003"] == ("none", "red")
    assert known["005"] == ("boxes", "")  # its green box stays
    book = LabelBook(run.labels, Dataset.open(run.data), ("red", "green"))
    assert book.state(book.data.by_id["003"]).nothing == {"red"}
    book.close()


def test_the_page_begins_with_what_is_known_by_finding(tmp_path):
    run, _ = two_findings(tmp_path)
    book = LabelBook(run.labels, Dataset.open(run.data), ("red", "green"))
    try:
        states = {case.case_id: book.state(case) for case in book.data.cases}
        assert [box.finding for box in states["000"].boxes] == ["red"]
        assert states["000"].nothing == frozenset()  # nobody looked for green there
        assert states["005"].nothing == {"red"}
        assert book.status(book.data.by_id["001"]) == "open"
    finally:
        book.close()
