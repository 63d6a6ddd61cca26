"""A student that says nothing of itself sends nobody to a command that refuses it."""

import json

import pytest

from meddistill.base.errors import InputError
from meddistill.colearning.second_opinion import opinion_of_trust
from meddistill.run.layout import RunDir
from meddistill.stages.calibrate import run_calibrate
from meddistill.student.silent_student import how_to_know, refuse_student_as_run, what_is_silent


def test_calibrate_is_named_only_to_a_student_that_it_takes(tmp_path):
    assert "meddistill calibrate RUN" in how_to_know(tmp_path)
    for tiled, told in ((False, "calibrate RUN"), (True, "sees images in tiles never does")):
        (tmp_path / "preprocessing.json").write_text(json.dumps({"tiled": tiled}))
        assert told in how_to_know(tmp_path)


def test_a_copied_student_needs_the_run_that_it_came_from(tmp_path):
    copied = tmp_path / "copy" / "student"
    assert f"calibrate RUN --student {copied}` fits that" in how_to_know(copied)
    assert "the one that the student came from" in how_to_know(copied)
    own = RunDir(tmp_path / "run")
    own.data.mkdir(parents=True)
    (own.data / "run.json").write_text("{}")
    assert how_to_know(own.student) == "`meddistill calibrate RUN` fits that, without training"
    further = own.root / "student-2"
    assert how_to_know(further).startswith(f"`meddistill calibrate RUN --student {further}` fits")
    refuse_student_as_run(own)
    copied.mkdir(parents=True)
    (copied / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"is a student; .*`meddistill calibrate RUN --student"):
        run_calibrate(RunDir(copied))


def test_one_that_was_fitted_in_vain_is_told_to_be_shown_images(tmp_path):
    (tmp_path / "trust.json").write_text("{}")
    assert "calibrate RUN --images DIR" in how_to_know(tmp_path)


def test_one_that_knows_familiarity_alone_is_not_called_silent(tmp_path):
    assert "does not say how far it is to be trusted" in what_is_silent(tmp_path, False)
    few = ["No image can be called unfamiliar.", "Expected Dice is unknown: 5 validation case(s)."]
    (tmp_path / "trust.json").write_text(json.dumps({"facts": {"too_few": few}}))
    told = what_is_silent(tmp_path, True)
    assert "to be trusted" not in told
    assert "says how familiar an image is, and no more" in told
    assert " ".join(few) in told
    assert "calibrate RUN --images DIR" in told


def test_a_teacher_that_was_not_asked_is_asked_for_this_very_student(tmp_path):
    further = tmp_path / "student-2"
    with pytest.raises(InputError, match=rf"`.* --ask-teacher --student {further}` first"):
        opinion_of_trust(None, further, "cpu")
