"""The study of trust at toy size: cells are judged once, and their tables show what is asked for."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script
from typer.testing import CliRunner

from meddistill.base.errors import InputError
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import write_png
from meddistill.data.preprocessing import Preprocessing
from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import RunDir
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.student import save_student
from meddistill.student.trust.trust import FindingTrust, Trust, save_trust
from meddistill.training import fitting

study = load_script("studies/trust")
table = load_script("studies/_trust_table")
spoiled = load_script("studies/_spoiled")
TOY = (
    "distill.image_size=32",
    "distill.epochs=1",
    "distill.tiles=never",
    "distill.targets.jitter_copies=0",
)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A toy set's cell, with a far folder; and where it was run."""
    root = tmp_path_factory.mktemp("trust-study")
    write_phantom(root / "source", cases=36, seed=0, size=64)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    write_png(root / "far" / "a.png", noise)
    one = study.Study(
        root / "source",
        root / "work",
        root / "out",
        far=[f"noise={root / 'far'}"],
        overrides=TOY,
        teacher=PaintingTeacher(),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(study.SETS, "toy", study.StudySet("", most=(6, 8, 4)))
        patch.setattr(fitting, "build_student", lambda *_, **__: NestedUNet([4, 6, 8]))
        one.run(study.Cell("toy", 0))
    return root, one


def test_a_healthy_case_needs_no_mask_file():
    judge = load_script("studies/_trust_judge")
    case = SimpleNamespace(annotation="none", has_mask=False, height=2, width=3)
    truth = judge._truth(SimpleNamespace(data=None), case)
    assert (truth.shape, truth.any()) == ((2, 3), False)


def test_several_findings_are_refused_before_anything_is_judged(tmp_path):
    two = Findings(("lesion", "cyst"))
    save_student(tmp_path, NestedUNet([4, 6, 8], 2), Preprocessing(image_size=32, findings=two))
    save_trust(tmp_path, Trust((FindingTrust(), FindingTrust()), None, facts={}))
    one = study.Study(tmp_path, tmp_path, tmp_path)
    with pytest.raises(InputError, match="knows 2 findings, the study judges one"):
        one.judge(RunDir(tmp_path), tmp_path, tmp_path / "out", None)


def test_a_cell_is_judged_once_and_shown(judged, capsys):
    root, one = judged
    (path,) = (root / "out").glob("*.json")
    cell = json.loads(path.read_text())
    assert cell["flags"]["far"]["noise"]["odd"] == 1  # colour
    assert {"negative", "quarter turn", "mirrored"} <= cell["flags"]["spoiled"].keys()
    assert "dice_loss" in cell["flags"]["look"]["contrast +15 %"]
    assert 0 <= cell["expected"]["covered"] <= 1
    assert len(cell["odds"]) == cell["images"]
    for where in ("around", "all"):
        assert cell["calibration"][where]["before"]["brier"] > 0
    told = CliRunner().invoke(study.app, ["--table", str(root / "out")])
    assert told.exit_code == 0, told.output
    for part in ("| toy, seed 0 |", "| toy | noise (1) | far |", "| toy | a little blur"):
        assert part in told.output

    stamp = path.stat().st_mtime_ns
    one.run(study.Cell("toy", 0))
    assert path.stat().st_mtime_ns == stamp
    assert "other settings" not in capsys.readouterr().err
    dataclasses.replace(one, overrides=(*TOY, "distill.lr=0.5")).run(study.Cell("toy", 0))
    told = " ".join(capsys.readouterr().err.split())
    assert "made with other settings (distill.lr 1e-3, asked for 0.5)" in told


def test_a_student_that_is_there_is_judged(judged, tmp_path):
    root, _ = judged
    run = next(iter((root / "work").glob("toy*/data"))).parent
    typed = ["run", str(run), "--student", str(run / "student-0"), "--no-ask-teacher"]
    typed += ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    done = CliRunner().invoke(study.app, typed)
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "out").glob("*-student-0.json")
    assert json.loads(path.read_text())["asked"] is None


def test_folds_take_turns():
    cells = study.cells_of("busi", 1, "0,4")
    assert [cell.name for cell in cells] == ["busi-0-0", "busi-4-0"]
    last = study._study_set(cells[1])
    assert (last.train, last.val, last.test) == (("1", "2", "3"), ("0",), ("4",))
    assert [cell.name for cell in study.cells_of("brain", 2, "")] == ["brain-0", "brain-1"]


def test_false_alarms_where_most_lesions_are_found():
    odds = [[0.9, 1], [0.8, 1], [0.2, 1], [0.85, 0], [0.1, 0]]
    assert table.false_alarms(odds, 0.6) == (0.5, 2 / 3)
    assert table.false_alarms(odds, 1.0) == (0.5, 1.0)
    assert table.false_alarms(odds[:3], 0.9) is None


@pytest.mark.parametrize("shape", [(8, 12), (8, 12, 3)])
def test_changes_keep_images_and_masks_together(shape):
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    for changes in (spoiled.SPOILED, spoiled.DRAWN, spoiled.LOOKS):
        for name, change in changes.items():
            changed = change.of_image(image)
            assert changed.dtype == np.uint8, name
            assert change.of_mask(np.ones(shape[:2], bool)).shape == changed.shape[:2], name


def test_what_is_wrong_is_said_in_a_line(tmp_path):
    for typed, told in (
        ([], "give a SET"),
        (["bran", str(tmp_path)], "did you mean 'brain'"),
        (["busi", str(tmp_path), "--folds", "7"], "takes numbers below 5"),
        (["--table", str(tmp_path)], "holds no cell"),
        (["brain", str(tmp_path), "--far", f"x={tmp_path}/*1.jpg"], "--far: "),
        (["brain", str(tmp_path), "--near", "x="], "--near is 'x=', expected"),
    ):
        done = CliRunner().invoke(study.app, typed)
        assert done.exit_code == 1
        assert told in done.output, done.output
