"""`meddistill label DIR` and `--demo`: from images to the page in one command."""

import dataclasses

import pytest
from support.label_run import make_source
from typer.testing import CliRunner

from meddistill import pipeline
from meddistill.base.errors import ConfigError, StageError
from meddistill.cli.app import app
from meddistill.data.prepare.counts import warnings_about
from meddistill.run.layout import RunDir
from meddistill.run.tables import Case, read_cases
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages import label as stage
from meddistill.stages.label import LabelRequest
from meddistill.stages.prepare import run_prepare

REQUEST = LabelRequest(teacher="none", browser=False)


@pytest.fixture
def labelled(monkeypatch, tmp_path):
    """What the page would be opened for."""
    seen = []
    monkeypatch.setattr(stage, "run_label", lambda run, request: seen.append((run, request)))
    monkeypatch.chdir(tmp_path)
    return seen


@pytest.fixture
def images(tmp_path):
    source = make_source(tmp_path, count=6)
    (source / "boxes.csv").unlink()
    return source


def test_images_become_a_run(labelled, images):
    pipeline.run_label_folder(images, REQUEST)
    ((run, request),) = labelled
    expected = dataclasses.replace(REQUEST, source=images)  # of its originals
    assert (str(run.root), request) == ("runs/source", expected)
    cases = read_cases(run.data)
    assert {case.annotation for case in cases} == {"unknown"}
    assert len(cases) == 6


def test_before_boxes_are_drawn_nothing_is_said_of_a_detector_or_an_evaluation(
    labelled, images, capsys
):
    pipeline.run_label_folder(images, REQUEST)
    told = capsys.readouterr().err
    assert "detector" not in told
    assert "eval" not in told
    ((run, _),) = labelled
    assert "detector" not in (run.data / "run.json").read_text()
    config = PrepareConfig(source=str(images))
    run_prepare(RunDir(images.parent / "to_train"), config, seed=0)
    told = " ".join(capsys.readouterr().err.split())
    assert "a detector cannot be trained" in told
    assert "which know no outline; none of them has one yet" in told


@pytest.mark.parametrize(
    ("split", "annotation", "told"),
    [
        ("test", "boxes", "of the test cases, which know no outline"),
        ("test", "unknown", "of the test cases, which know no outline; none of them has one yet"),
        ("val", "boxes", "by whose boxes `eval` would judge; `eval --split val` goes by boxes"),
        ("val", "unknown", "and there is no test case by whose boxes `eval` would judge"),
    ],
)
def test_what_is_said_of_an_evaluation_without_masks_is_so(split, annotation, told):
    boxes = int(annotation == "boxes")
    case = Case("a", split, "", "", annotation, False, "a.png", 8, 8, boxes, "", "", "")
    warnings = warnings_about([case], [])
    assert warnings[-1].startswith("no case has a mask")
    assert warnings[-1].endswith(told)
    assert ("masks that `label --audit` settles" in warnings[-1]) == (split == "test")
    assert warnings_about([dataclasses.replace(case, has_mask=True)], []) == warnings[:-1]
    assert warnings_about([case], [], to_label=True) == []


def test_again_it_takes_new_images_and_keeps_splits(labelled, images):
    pipeline.run_label_folder(images, REQUEST, into=RunDir(images.parent / "mine").root)
    run = labelled[0][0]
    before = {case.case_id: case.split for case in read_cases(run.data)}
    content = (images / "images/005.png").read_bytes()
    (images / "images/006.png").write_bytes(content + b"\0")
    pipeline.run_label_folder(images, REQUEST, into=run.root)
    after = {case.case_id: case.split for case in read_cases(run.data)}
    assert len(after) == 7
    assert before.items() <= after.items()


def test_a_run_is_taken_as_it_is(labelled, images):
    pipeline.run_label_folder(images, REQUEST)
    pipeline.run_label_folder(labelled[0][0].root, REQUEST)
    assert labelled[1][0] == labelled[0][0]


def test_another_folder_of_the_same_name_is_refused(labelled, images, tmp_path):
    pipeline.run_label_folder(images, REQUEST)
    other = tmp_path / "other" / "source"
    (other / "images").mkdir(parents=True)
    (other / "images" / "x.png").write_bytes((images / "images/000.png").read_bytes())
    with pytest.raises(StageError, match=r"holds other images than .* --into"):
        pipeline.run_label_folder(other, REQUEST)


def test_without_anything_it_says_what_to_give(labelled):
    with pytest.raises(ConfigError, match="give a RUN, or a folder of images"):
        pipeline.run_label_folder(None, REQUEST)


def test_the_demo_has_images_alone(labelled, monkeypatch):
    monkeypatch.setattr(pipeline, "LABEL_DEMO_CASES", 12)
    pipeline.run_label_folder(None, REQUEST, demo=True)
    pipeline.run_label_folder(None, REQUEST, demo=True)
    run = labelled[1][0]
    assert run.root.name == "meddistill-label-demo"
    assert {(case.annotation, case.has_mask) for case in read_cases(run.data)} == {
        ("unknown", False)
    }


def test_every_option_reaches_the_request(labelled, images):
    options = [
        "--user", "anna", "--teacher", "none", "--findings", "tumour, cyst", "--order", "listed",
        "--port", "9000", "--no-browser", "--host", "10.0.0.1", "--allow-remote", "--device", "cpu",
        "--into", "elsewhere", "--audit", "5", "--train",
    ]  # fmt: skip
    result = CliRunner().invoke(app, ["label", str(images), *options])
    assert result.exception is None
    ((run, request),) = labelled
    assert run.root.name == "elsewhere"
    assert request == LabelRequest(
        user="anna", teacher="none", findings=["tumour", "cyst"], order="listed", port=9000,
        browser=False, host="10.0.0.1", allow_remote=True, device="cpu", source=images,
        audit=5, train=True,
    )  # fmt: skip
