"""A RUN of an earlier commit goes on: see stored_run/README.md.

What copies or hashes is compared to the byte. What computes on floats is compared within what
another processor's kernels may do to it; on the machine that made the RUN all of it is equal.
"""

import csv
import dataclasses
import json
import shutil
import tarfile

import numpy as np
import pytest
import safetensors.numpy
from support.painting_teacher import PaintingTeacher
from support.paths import TESTS

from meddistill.base.csv_tables import columns, read_table, write_table
from meddistill.data.formats.pictures import read_rgb
from meddistill.evaluation.request import EvalRequest
from meddistill.run import layout, record
from meddistill.run.layout import RunDir
from meddistill.run.tables import QualityRow
from meddistill.settings import identity
from meddistill.settings.detect import DetectConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.roles import Role, setting
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.detect import run_detect
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.export import run_export
from meddistill.stages.predict import run_predict
from meddistill.stages.prepare import run_prepare
from meddistill.stages.status import run_status
from meddistill.student.card import write_model_card
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.training import checkpoints, fitting

STORED = TESTS / "contracts/stored_run/stored_run.tar.xz"

# As stored_run/make_stored_run.py has them.
PREPARE = PrepareConfig(source="source", dataset="folder", groups="source/groups.csv")
DETECT = DetectConfig(
    weights="yolo11n.yaml",
    epochs=1,
    image_size=64,
    batch_size=4,
    confidence=0.0,
    max_boxes=1,
)
DISTILL = DistillConfig(
    student="nested_unet",
    encoder_weights="none",
    image_size=64,
    epochs=30,
    batch_size=2,
    lr=2e-2,
    ema_decay=0.9,
    precision="32-true",
    picture_every=0,
    targets=TargetsConfig(jitter_copies=2, feature_grid=8),
)
EVAL = EvalConfig(gallery_cases=2)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The RUN where one lies beside its source, with the student's network that it was made with."""
    with tarfile.open(STORED) as archive:
        archive.extractall(tmp_path, filter="data")
    shutil.move(tmp_path / "run" / "source", tmp_path / "source")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "build_student", lambda *_, **__: NestedUNet((4, 4, 6, 6, 8)))
    return RunDir(tmp_path / "run")


class SilentTeacher(PaintingTeacher):
    """All it was asked for is there."""

    def encode(self, images):
        raise AssertionError("the teacher was asked again")


def record_of(directory, name=layout.RUN_JSON):
    return json.loads((directory / name).read_text())


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def expect_same_table(found, stored, rel, leave_out=()):
    """Equal text, near numbers; a column that the stored table lacks is new, one that is gone is an
    error."""
    ours, theirs = rows_of(found), rows_of(stored)
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        for column in their.keys() - set(leave_out):
            value, expected = number(our[column]), number(their[column])
            if isinstance(expected, float):
                assert value == pytest.approx(expected, rel=rel, abs=rel), column
            else:
                assert value == expected, column


def expect_same_masks(found, stored):
    paths = sorted(stored.glob("*.png"))
    assert [path.name for path in sorted(found.glob("*.png"))] == [path.name for path in paths]
    for path in paths:
        differ = (read_rgb(found / path.name) != read_rgb(path)).any(2).mean()
        assert differ <= 0.002, f"{path.name}: {differ:.1%} of the pixels"


def test_status_knows_it(run, capsys):
    states = {look.directory.name: look.state for look in run_status(run)}
    assert states == {
        "data": "done",
        "detector": "done",
        "teacher": "done",
        "student": "done",
        "student-half": "unfinished",
        "eval": "done",
        "predictions": "done",
    }


def test_finished_stages_are_recognised(run, capsys):
    before = {path: path.read_bytes() for path in run.root.rglob("*.json")}
    teacher = SilentTeacher()
    run_prepare(run, PREPARE, seed=0)
    run_detect(run, DETECT, seed=0, device="cpu")
    run_distill(run, DISTILL, device="cpu", teacher=teacher)
    run_eval(run, EVAL, seed=0)
    assert {path: path.read_bytes() for path in run.root.rglob("*.json")} == before


@pytest.mark.parametrize("stage", ["data", "detector", "teacher", "student"])
def test_identity_is_written_as_it_was(run, stage):
    """To the byte and in the same order: fingerprints hash it. New settings may stand in it."""
    stored = record_of(run.root / stage)["settings"]
    dataset = stored.get("dataset")
    made = {
        "data": lambda: identity.of_prepare(PREPARE, 0, dataset),
        "detector": lambda: identity.of_detect(DETECT, 0),
        "teacher": lambda: identity.of_teacher(DISTILL, PaintingTeacher.fingerprint),
        "student": lambda: identity.of_distill(DISTILL, 0),
    }[stage]()
    assert json.dumps(known(made, stored)) == json.dumps(stored)


def known(settings, stored):
    """`settings` without what the stored ones did not know yet."""
    return {
        name: known(value, stored[name]) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name in stored
    }


def test_targets_are_found_by_their_keys(run):
    (run.teacher / layout.RUN_JSON).unlink()
    stored = (run.teacher / layout.QUALITY_CSV).read_bytes()
    run_distill(run, DISTILL, device="cpu", out=run.root / "student-half", teacher=SilentTeacher())
    assert (run.teacher / layout.QUALITY_CSV).read_bytes() == stored


def test_distill_is_resumed_in_its_middle(run):
    half = run.root / "student-half"
    checkpoint = checkpoints.load_checkpoint(half)
    assert (checkpoint["epoch"], checkpoint["step"] > 0) == (27, True)
    run_distill(run, DISTILL, device="cpu", out=half, teacher=SilentTeacher())
    stored = record_of(run.student)
    record = record_of(half)
    assert record["inputs"] == stored["inputs"]
    assert known(record["settings"], stored["settings"]) == stored["settings"]
    for name in (layout.CONFIG_JSON, layout.PREPROCESSING_JSON):
        assert (half / name).read_bytes() == (run.student / name).read_bytes()
    # Three epochs on another processor's kernels.
    expect_same_table(
        half / layout.METRICS_CSV, run.student / layout.METRICS_CSV, 0.05, ["seconds"]
    )
    ours, theirs = (
        safetensors.numpy.load_file(directory / layout.MODEL_SAFETENSORS)
        for directory in (half, run.student)
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_allclose(ours[name], tensor, rtol=0.05, atol=0.02, err_msg=name)


def test_eval_says_the_same_again(run):
    out = run_eval(run, EVAL, EvalRequest(out=run.root / "eval-again"), seed=0)
    expect_same_masks(out / "masks", run.eval / "masks")
    expect_same_table(out / layout.PER_CASE_CSV, run.eval / layout.PER_CASE_CSV, 0.02)
    ours, theirs = (record_of(directory, layout.SUMMARY_JSON) for directory in (out, run.eval))
    assert theirs.keys() <= ours.keys()
    for method, scores in theirs["methods"].items():
        dice = ours["methods"][method]["metrics"]["dice"]["mean"]
        assert dice == pytest.approx(scores["metrics"]["dice"]["mean"], abs=0.01)
    assert record_of(out)["inputs"] == record_of(run.eval)["inputs"]


def test_predict_says_the_same_again(run):
    images = sorted((run.data / "images" / "test").glob("*.png"))
    out = run_predict(run.student, [str(path) for path in images], run.root / "predictions-again")
    stored = run.root / "predictions"
    expect_same_masks(out / "masks", stored / "masks")
    table = layout.PREDICTIONS_CSV
    expect_same_table(out / table, stored / table, 0.02, ["source"])  # the path, as typed


def test_export_takes_its_student(run):
    path = run_export(run.student, file_format="torchscript")
    assert record_of(run.student, f"{path.name}.json")["agreement"]["max_difference"] < 1e-4


def test_the_model_card_is_written_from_what_it_holds(run):
    stored = (run.student / layout.MODEL_CARD).read_bytes()
    write_model_card(run.student, run.data)
    assert (run.student / layout.MODEL_CARD).read_bytes() == stored
    write_model_card(run.student, run.data, run.eval)
    assert b"| Dice, mean" in (run.student / layout.MODEL_CARD).read_bytes()


# What the next version may add.


@dataclasses.dataclass(frozen=True)
class NextDistill(DistillConfig):
    passes: int = setting(1, Role.STUDENT, before=1)
    dropout: float = setting(0.2, Role.STUDENT, before=0.0)


@dataclasses.dataclass(frozen=True)
class NextRow(QualityRow):
    entropy: float = 0.0


def next_config(config):
    return NextDistill(
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    )


def test_a_run_in_progress_goes_on_when_a_setting_is_added(run, monkeypatch, capsys):
    monkeypatch.setitem(identity.SCHEMAS, "distill", NextDistill)
    half = run.root / "student-half"
    config = next_config(DISTILL)
    assert record.as_begun(half, config).dropout == 0.0
    assert "there was a setting 'dropout': it goes on with 0.0" in capsys.readouterr().err
    run_distill(run, config, device="cpu", out=half, teacher=SilentTeacher())
    settings = record_of(half)["settings"]
    assert (settings["passes"], settings["dropout"]) == (1, 0.0)


def test_one_that_is_wanted_otherwise_is_a_difference(run, monkeypatch):
    monkeypatch.setitem(identity.SCHEMAS, "distill", NextDistill)
    config = dataclasses.replace(next_config(DISTILL), dropout=0.5)
    with pytest.raises(record.StageError, match=r"\(settings.dropout was 0.0, now 0.5\)"):
        run_distill(
            run, config, device="cpu", out=run.root / "student-half", teacher=SilentTeacher()
        )


def test_prepare_goes_on_without_its_source_and_can_be_updated(run, monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class NextPrepare(PrepareConfig):
        rule: str = setting("seeded", Role.RESULT, before="seeded")

    monkeypatch.setitem(identity.SCHEMAS, "prepare", NextPrepare)
    config = NextPrepare(source="source", dataset="folder", groups="source/groups.csv")
    table = (run.data / layout.CASES_CSV).read_bytes()
    run_prepare(run, config, seed=0, update=True)
    shutil.move("source", "elsewhere")
    run_prepare(run, config, seed=0)
    assert (run.data / layout.CASES_CSV).read_bytes() == table


def test_a_table_without_a_column_that_was_added_is_read(run, tmp_path):
    path = run.teacher / layout.QUALITY_CSV
    rows = read_table(path, NextRow)
    assert [row.entropy for row in rows] == [0.0] * 16
    plain = read_table(path, QualityRow)
    assert [row.key for row in rows] == [row.key for row in plain]
    write_table(tmp_path / "new.csv", NextRow, rows)
    assert read_table(tmp_path / "new.csv", NextRow) == rows
    assert columns(NextRow) == [*columns(QualityRow), "entropy"]


def test_a_checkpoint_without_a_key_that_was_added_is_read(run, monkeypatch):
    monkeypatch.setattr(checkpoints, "KEYS", checkpoints.KEYS | {"scaler", "loader"})
    half = run.root / "student-half"
    assert checkpoints.load_checkpoint(half) is None  # nobody said what it means
    monkeypatch.setattr(checkpoints, "BEFORE", {"scaler": None, "loader": "shuffled"})
    state = checkpoints.load_checkpoint(half)
    assert (state["scaler"], state["loader"]) == (None, "shuffled")
    assert state["epoch"] == 27
