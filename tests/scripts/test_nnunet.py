"""nnU-Net beside the student: what it is given, that nothing is done twice, and how it is named."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch
from support.evaluation_data import BrightnessStudent, finish
from support.prepared import prepare_into
from support.script_module import load_script
from typer.testing import CliRunner

from meddistill.base.csv_tables import write_table
from meddistill.base.errors import InputError
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import write_png
from meddistill.data.masks import load_labels
from meddistill.run.dataset import Dataset
from meddistill.run.layout import QUALITY_CSV, RunDir
from meddistill.run.tables import QualityRow, read_cases
from meddistill.targets.asking import Answer
from meddistill.targets.cache import write_target
from meddistill.targets.scores import Scores

PROGRAM = """#!{python}
import json, os, pathlib, shutil, sys
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
raw, preprocessed, results = (
    pathlib.Path(os.environ["nnUNet_" + each]) / "Dataset501_meddistill"
    for each in ("raw", "preprocessed", "results")
)
with open(raw.parents[1] / "called.txt", "a") as file:
    file.write(name + "\\n")
if name == "nnUNetv2_plan_and_preprocess":
    preprocessed.mkdir(parents=True)
elif name == "nnUNetv2_train":
    assert json.loads((preprocessed / "splits_final.json").read_text())[0]["val"]
    trainer = arguments[arguments.index("-tr") + 1]
    fold = results / (trainer + "__nnUNetPlans__2d") / "fold_0"
    assert ("--c" in arguments) == fold.exists()
    fold.mkdir(parents=True, exist_ok=True)
    session = len(list(fold.iterdir()))
    stops = (raw.parents[1] / "stops").exists() and not session
    lines = []
    for epoch, dice in enumerate([0.125] if stops else [0.25, 0.5][: session + 1]):
        lines += ["t: Epoch %d " % epoch, "t: Pseudo dice [np.float32(%s)] " % dice]
    # As nnU-Net names them, day and month unpadded.
    (fold / ("training_log_2026_1_%d_00_00_00.txt" % (9 + session))).write_text("\\n".join(lines))
    sys.exit(3 if stops else 0)
else:
    out = pathlib.Path(arguments[arguments.index("-o") + 1])
    out.mkdir(parents=True, exist_ok=True)
    for image in (raw / "imagesTs").iterdir():
        shutil.copyfile({blank!r}, out / image.name.replace("_0000", ""))
"""
SIDE = 32


@pytest.fixture(scope="module")
def script():
    return load_script("studies/nnunet")


@pytest.fixture
def run(tmp_path):
    """A prepared RUN of grey images, a bright square on each, with a student and a teacher."""
    source = tmp_path / "source"
    for index in range(8):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[4 + index : 16 + index, 8:20] = 255
        write_png(source / "images" / f"c{index}.png", np.maximum(mask // 2, 20))
        write_png(source / "masks" / f"c{index}.png", mask)
    prepare_into(tmp_path, source, test_fraction=0.25, val_fraction=0.25)
    run = RunDir(tmp_path / "run")
    run.student.mkdir()
    finish(run.student, "distill")
    return run


@pytest.fixture
def programs(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    blank = tmp_path / "blank.png"
    write_png(blank, np.zeros((SIDE, SIDE), np.uint8))
    for name in ("plan_and_preprocess", "train", "predict"):
        path = folder / f"nnUNetv2_{name}"
        path.write_text(PROGRAM.format(python=sys.executable, blank=str(blank)))
        path.chmod(0o755)
    return folder


@pytest.fixture
def rival(script, run, programs, tmp_path):
    out = tmp_path / "nnunet"
    out.mkdir()
    return script.Rival(run, "masks", 5, out, programs)


def test_its_masks_are_judged_beside_the_students_under_a_name_that_says_its_epochs(script, rival):
    out = script.run_rival(rival, BrightnessStudent(0.4))
    told = json.loads((rival.out / "result-5.json").read_text())
    assert (told["trainer"], told["labels"]) == ("nnUNetTrainer_5epochs", "masks")
    assert told["learning_curve"] == [{"epoch": 0, "dice": 0.25}]
    assert told["dice"]["student"]["mean"] == pytest.approx(1)
    assert told["dice"]["other"]["mean"] == 0
    assert "nnU-Net 2-D of true masks, 5 epochs" in (out / "report.html").read_text()


def test_what_is_there_is_not_made_again(script, rival):
    script.run_rival(rival, BrightnessStudent(0.4))
    script.run_rival(rival, BrightnessStudent(0.4))
    called = (rival.out / "called.txt").read_text().split()
    assert called == ["nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict"]


def test_training_that_was_interrupted_goes_on_and_adds_up(script, rival):
    (rival.out / "stops").touch()
    with pytest.raises(InputError, match="nnUNetv2_train ended with 3"):
        script.run_rival(rival, BrightnessStudent(0.4))
    (rival.out / "sessions-5.json").write_text('{"seconds": 100}')
    script.run_rival(rival, BrightnessStudent(0.4))
    told = json.loads((rival.out / "result-5.json").read_text())
    assert told["resumed"] is True
    assert 100 <= told["seconds"] < 200
    assert told["learning_curve"] == [{"epoch": 0, "dice": 0.25}, {"epoch": 1, "dice": 0.5}]


def test_it_learns_the_runs_own_split_from_masks(script, rival):
    script.run_rival(rival, BrightnessStudent(0.4))
    by_split = {
        split: sorted(case.case_id for case in read_cases(rival.run.data) if case.split == split)
        for split in ("train", "val", "test")
    }
    (split,) = json.loads((rival.out / "splits_final.json").read_text())
    assert {name: sorted(ids) for name, ids in split.items()} == {
        name: by_split[name] for name in ("train", "val")
    }
    images = {path.name for path in (rival.raw / "imagesTs").iterdir()}
    assert images == {f"{name}_0000.png" for name in by_split["test"]}
    about = json.loads((rival.raw / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "grey"}
    assert about["labels"] == {"background": 0, "lesion": 1}
    labels = load_labels(rival.raw / "labelsTr" / f"{by_split['train'][0]}.png")[0]
    assert sorted(np.unique(labels)) == [0, 1]
    assert int(labels.sum()) == 144


def test_of_the_teacher_it_learns_the_targets_that_the_student_learnt(script, rival):
    train = [case for case in read_cases(rival.run.data) if case.split != "test"]
    rows = []
    for case in train:
        probs = torch.zeros(16, 16)
        probs[:8, :8] = 0.9
        write_target(rival.run.teacher, case.case_id, "k" * 4, Answer(probs, 0 * probs, Scores()))
        accepted = case is not train[0]
        numbers = (0.0,) * 7
        rows.append(
            QualityRow(
                case.case_id, case.split, "annotated", 1, "k" * 4, *numbers, accepted, "", 1.0
            )
        )
    write_table(rival.run.teacher / QUALITY_CSV, QualityRow, rows)
    taught = dataclasses.replace(rival, labels="teacher")
    script.run_rival(taught, BrightnessStudent(0.4))
    written = sorted((rival.raw / "labelsTr").iterdir())
    assert [path.stem for path in written] == sorted(case.case_id for case in train[1:])
    labels = load_labels(written[0])[0]
    assert labels.shape == (SIDE, SIDE)
    assert labels[:15, :15].all()
    assert not labels[18:].any()


def test_what_a_ring_swallows_keeps_its_pixels_as_in_the_students_targets(script, rival):
    findings, dataset = Findings(("ring", "inner")), Dataset.open(rival.run.data)
    case, rows = dataset.of_split("train")[0], []
    for name, width, surely in (("ring", 20, 0.95), ("inner", 8, 0.7)):
        probs = torch.zeros(SIDE, SIDE)
        probs[4 : 4 + width, 4 : 4 + width] = surely
        write_target(rival.run.teacher, case.case_id, name, Answer(probs, 0 * probs, Scores()))
        numbers = (0.0,) * 7
        rows.append(
            QualityRow(case.case_id, "train", "annotated", 1, name, *numbers, True, "", 1.0, name)
        )
    write_table(rival.run.teacher / QUALITY_CSV, QualityRow, rows)
    taught = dataclasses.replace(rival, labels="teacher")
    ((_, labels),) = script._labelled(taught, dataset, findings)
    assert (labels[4:12, 4:12] == 2).all()
    assert (labels == 1).sum() == 20 * 20 - 8 * 8


def test_without_nnunet_it_says_how_to_have_it(script, rival, tmp_path):
    elsewhere = dataclasses.replace(rival, programs=tmp_path)
    with pytest.raises(InputError, match="an environment of its own and give its bin folder"):
        script.run_rival(elsewhere, BrightnessStudent())
    assert not rival.raw.exists()


def test_a_folder_of_other_labels_is_not_taken_for_its_own(script, rival):
    script.run_rival(rival, BrightnessStudent(0.4))
    with pytest.raises(InputError, match="was written with --labels masks; give another folder"):
        script.run_rival(dataclasses.replace(rival, labels="teacher"), BrightnessStudent(0.4))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ([], "is missing; run `meddistill distill`"),
        (["--labels", "boxes"], "--labels is masks or teacher"),
        (["--epochs", "7"], "no trainer of 7 epochs"),
        (["--device", "cuda:1"], "nnU-Net runs on cpu, cuda, mps"),
        (["--device", "mps"], "device 'mps' is not there"),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_leaves_nothing(script, tmp_path, typed, told):
    done = CliRunner().invoke(script.app, [str(tmp_path / "typo"), *typed])
    assert done.exit_code == 1
    assert told in done.output, done.output
    assert not (tmp_path / "typo").exists()


def test_a_command_that_fails_names_its_log(script, rival, programs):
    (programs / "nnUNetv2_train").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(InputError, match=r"nnUNetv2_train ended with 3; see .*nnunet.log"):
        script.run_rival(rival, BrightnessStudent())
