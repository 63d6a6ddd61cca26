"""`meddistill distill --from`: after more boxes, training goes on from a student that is there."""

import dataclasses
import shutil

import pytest
import torch
from support.bright_squares import SIZE, prepare_squares
from support.painting_teacher import PaintingTeacher
from support.tiny_student import TinyStudent

from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json
from meddistill.run.layout import RUN_JSON, RunDir
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.student import student
from meddistill.training import fitting, warm_start

CONFIG = DistillConfig(
    encoder_weights="none",
    image_size=SIZE,
    epochs=1,
    batch_size=4,
    targets=TargetsConfig(jitter_copies=1, views="whole"),
    colearning=ColearningConfig(steps=2, head_steps=20, heads=2, rounds=1),
    precision="32-true",
)


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        for module in (fitting, warm_start):
            patch.setattr(module, "build_student", lambda *_, **__: TinyStudent())
        patch.setattr(student, "network_of_config", lambda _: TinyStudent())
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory, patched):
    """A RUN with five boxes and its student."""
    run = prepare_squares(tmp_path_factory.mktemp("first"), count=16, boxed=5)
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    return run


@pytest.fixture
def more(tmp_path, patched):
    """A RUN of the same images, with more boxes."""
    return prepare_squares(tmp_path, count=16, boxed=9)


def distil(run, start, teacher=None, out=None, **changes):
    config = dataclasses.replace(CONFIG, warm_start=str(start), **changes)
    return run_distill(run, config, device="cpu", teacher=teacher or PaintingTeacher(), out=out)


def weights(directory):
    return student.load_student(directory).module.state_dict()


def test_a_run_with_more_boxes_goes_on_from_the_student_of_the_one_before(first, more, capsys):
    teacher = PaintingTeacher()
    found = distil(more, first.root, teacher)
    assert read_json(found / RUN_JSON)["inputs"]["start"]
    assert read_json(found / RUN_JSON)["results"]["train_cases"] > 9
    told = " ".join(capsys.readouterr().err.split())
    assert "training goes on from" in told
    assert "files of its teacher are taken over" in told
    # Two steps away from where it was, and not where nothing leads to.
    fresh = distil_fresh(more)
    near, far = (distance(weights(found), weights(other)) for other in (first.student, fresh))
    assert near < far


def distil_fresh(run):
    config = dataclasses.replace(CONFIG)
    return run_distill(
        run, config, seed=1, device="cpu", teacher=PaintingTeacher(), out=run.root / "student-fresh"
    )


def distance(one, other):
    return sum(float((one[name].float() - other[name].float()).norm()) for name in one)


def test_what_the_teacher_was_asked_before_is_not_asked_again(first, more, tmp_path):
    warm, cold = PaintingTeacher(), PaintingTeacher()
    distil(more, first.student, warm)
    shutil.rmtree(more.teacher)
    shutil.rmtree(more.student)
    run_distill(more, CONFIG, device="cpu", teacher=cold)
    assert warm.images < cold.images / 2


def test_interrupted_it_ends_as_it_would_have(first, more, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "train_student", stop)
        with pytest.raises(KeyboardInterrupt):
            distil(more, first.root)
    again = distil(more, first.root)
    whole = distil(more, first.root, out=more.root / "student-whole")
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_another_start_is_another_student(first, more):
    start = shutil.copytree(first.student, more.root / "other")
    distil(more, first.student)
    state = {name: tensor + 0.1 for name, tensor in weights(start).items()}
    module = TinyStudent()
    module.load_state_dict(state)
    student.save_student(start, module, student.load_student(start).preprocessing)
    with pytest.raises(Exception, match="other settings or inputs"):
        distil(more, start)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"image_size": 96}, "TinyStudent at 64 px, this training is to make TinyStudent at 96 px"),
        ({}, "give both the same student"),
    ],
    ids=["size", "network"],
)
def test_another_network_or_size_is_refused_before_the_teacher_is_asked(
    first, more, monkeypatch, change, match
):
    if not change:
        monkeypatch.setattr(warm_start, "build_student", lambda *_, **__: TinyStudent(4))
    teacher = PaintingTeacher()
    with pytest.raises(ConfigError, match=match):
        distil(more, first.root, teacher, **change)
    assert teacher.images == 0


def test_a_start_that_is_none_is_refused(first, more, tmp_path):
    with pytest.raises(InputError, match=r"^--from .* is neither a student nor a RUN with one"):
        distil(more, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"^--from .* is where the new student goes"):
        distil(first, first.root)


def test_random_weights_are_told_of_a_new_encoder_alone(first, more, monkeypatch, capsys):
    class Encoding(TinyStudent):
        def saved_config(self):
            return {**super().saved_config(), "encoder_name": "tiny"}

    monkeypatch.setattr(fitting, "build_student", lambda *_, **__: Encoding())
    told = "starts from random weights, as asked"
    distil_fresh(more)
    assert capsys.readouterr().err.count(told) == 1
    distil(more, first.root)
    assert told not in capsys.readouterr().err


def test_without_a_start_nothing_is_said_of_one(first):
    assert "start" not in read_json(first.student / RUN_JSON)["inputs"]
    assert not torch.equal(weights(first.student)["head.weight"], TinyStudent().head.weight)
    assert isinstance(first, RunDir)
