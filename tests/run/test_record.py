"""What a finished stage is to the stages after it."""

import os
import shutil

import pytest

from meddistill.base.errors import StageError
from meddistill.run.fingerprints import fingerprint_stage
from meddistill.run.record import Stage


@pytest.fixture
def made(tmp_path):
    out = tmp_path / "student"
    stage = Stage.open(out, "distill", {}, {})
    for name in ("preprocessing.json", "metrics.csv"):
        (out / name).write_text("threshold 0.5")
    stage.finish({}, [out / "preprocessing.json", out / "metrics.csv"])
    return out


def test_an_output_that_was_changed_by_hand_is_another_input(made, tmp_path):
    first = fingerprint_stage(made)
    evaluation = tmp_path / "eval"
    Stage.open(evaluation, "eval", {}, {"student": first}).finish({}, [])
    for text in ("threshold 0.5, by hand", "threshold 0.4"):
        (made / "preprocessing.json").write_text(text)
        now = os.stat(made / "run.json").st_mtime_ns + 10**9
        os.utime(made / "preprocessing.json", ns=(now, now))
        with pytest.raises(StageError, match=r"inputs\.student was"):
            Stage.open(evaluation, "eval", {}, {"student": fingerprint_stage(made)})
    (made / "preprocessing.json").write_text("threshold 0.5")
    assert fingerprint_stage(made) == first


def test_a_copy_with_other_times_or_less_is_the_same_input(made, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy, copy_function=shutil.copyfile)
    os.utime(copy / "run.json", ns=(0, 0))
    assert fingerprint_stage(copy) == fingerprint_stage(made)
    (copy / "metrics.csv").unlink()
    assert fingerprint_stage(copy) == fingerprint_stage(made)


@pytest.fixture
def labelled(tmp_path):
    out = tmp_path / "data"
    stage = Stage.open(out, "prepare", {}, {})
    (out / "labels/train").mkdir(parents=True)
    for name in "ab":
        (out / f"labels/train/{name}.txt").write_text("0 .5 .5 .2 .2")
    stage.finish({}, [out / "labels"])
    return out


def test_a_file_of_a_folder_that_was_changed_is_another_input(labelled):
    first = fingerprint_stage(labelled)
    label = labelled / "labels/train/a.txt"
    label.write_text("0 .5 .5 .2 .3")
    now = os.stat(labelled / "run.json").st_mtime_ns + 10**9
    os.utime(label, ns=(now, now))
    assert fingerprint_stage(labelled) != first
    label.write_text("0 .5 .5 .2 .2")
    assert fingerprint_stage(labelled) == first
    label.unlink()
    assert fingerprint_stage(labelled) != first


@pytest.mark.parametrize("name", ["train.cache", "train/._a.txt"])
def test_what_other_programs_keep_in_a_folder_is_no_part_of_it(labelled, name):
    first = fingerprint_stage(labelled)
    other = labelled / "labels" / name
    other.write_text("of Ultralytics, or of macOS")
    now = os.stat(labelled / "run.json").st_mtime_ns + 10**9
    os.utime(other, ns=(now, now))
    assert fingerprint_stage(labelled) == first
