"""The study of trust at toy size: a cell is judged once, and its table shows it."""

import json

import numpy as np
import pytest
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script
from typer.testing import CliRunner

from meddistill.data.formats.pictures import write_png
from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import RunDir
from meddistill.settings.distill import DistillConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.prepare import run_prepare
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.training import fitting

study = load_script("studies/trust")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("trust-study")
    write_phantom(root / "source", cases=36, seed=0, size=64)
    run = RunDir(root / "run")
    run_prepare(
        run,
        PrepareConfig(source=str(root / "source"), dataset="folder", val_fraction=0.5),
        seed=0,
    )
    config = DistillConfig(
        image_size=32,
        epochs=1,
        tiles="never",
        targets=TargetsConfig(jitter_copies=0),
        feature_weight=0.0,
        precision="32-true",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "build_student", lambda *_, **__: NestedUNet([4, 6, 8]))
        run_distill(run, config, device="cpu", teacher=PaintingTeacher())
    return run


def test_a_cell_is_judged_once_and_shown(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    write_png(tmp_path / "far" / "a.png", noise)
    typed = [str(run.root), "--foreign", f"far={tmp_path / 'far'}", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(study.app, typed)
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "out").glob("*.json")
    cell = json.loads(path.read_text())
    assert cell["flags"]["far"]["odd"] == 1  # colour
    assert {"own", "negative", "quarter turn", "contrast +15 %"} <= cell["flags"].keys()
    assert 0 <= cell["expected"]["covered"] <= 1
    for where in ("around", "all"):
        assert cell["calibration"][f"{where}, raw"]["brier"] > 0
    assert "| run-student |" in done.output

    stamp = path.stat().st_mtime_ns
    assert CliRunner().invoke(study.app, typed).exit_code == 0
    assert path.stat().st_mtime_ns == stamp


def test_what_is_wrong_is_said_in_a_line(run, tmp_path):
    for typed, told in (
        ([], "give a RUN"),
        ([str(run.root), "--foreign", "x", "--out", str(tmp_path)], "expected NAME=FOLDER"),
        (["--table", str(tmp_path)], "holds no cell"),
    ):
        done = CliRunner().invoke(study.app, typed)
        assert done.exit_code == 1
        assert told in done.output
