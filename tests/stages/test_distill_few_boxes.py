"""`meddistill distill` with few boxes: unboxed images are proposed on, answered and learnt from."""

import dataclasses
import shutil

import numpy as np
import pytest
from support.bright_squares import SIZE, prepare_squares, square, write_squares
from support.painting_teacher import PaintingTeacher
from support.tiny_student import TinyStudent

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError
from meddistill.base.files import read_json
from meddistill.colearning import joining
from meddistill.colearning.belief_files import load_beliefs
from meddistill.colearning.colearning_row import ColearningRow
from meddistill.colearning.distillation import Distillation
from meddistill.colearning.head_files import load_heads
from meddistill.colearning.joining import Colearning
from meddistill.colearning.unboxed import UnboxedImages
from meddistill.data.formats.pictures import write_png
from meddistill.run.layout import (
    BELIEFS_AGAIN_NPZ,
    BELIEFS_NPZ,
    COLEARNING_CSV,
    COLEARNING_PNG,
    LAST_CKPT,
    PREVIOUS_CKPT,
    RUN_JSON,
    RunDir,
)
from meddistill.run.tables import read_cases
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.prepare import run_prepare
from meddistill.training import fitting

FEW = ColearningConfig(steps=6, head_steps=40, heads=2)
CONFIG = DistillConfig(
    encoder_weights="none",
    image_size=SIZE,
    epochs=2,
    batch_size=4,
    targets=TargetsConfig(jitter_copies=1, views="whole"),
    colearning=FEW,
    precision="32-true",
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_squares(tmp_path_factory.mktemp("few"))


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(fitting, "build_student", lambda *_, **__: TinyStudent())


@pytest.fixture
def run(prepared, tmp_path):
    shutil.copytree(prepared.root, tmp_path / "run")
    return RunDir(tmp_path / "run")


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """A RUN that is distilled in one go, to be read and copied."""
    root = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(prepared.root, root)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "build_student", lambda *_, **__: TinyStudent())
        distil(RunDir(root))
    return RunDir(root)


@pytest.fixture
def copied(whole, tmp_path):
    shutil.copytree(whole.root, tmp_path / "run")
    return RunDir(tmp_path / "run")


def distil(run, out="student", teacher=None, **changes):
    colearning = dataclasses.replace(FEW, **changes)
    config = dataclasses.replace(CONFIG, colearning=colearning)
    teacher = teacher or PaintingTeacher()
    return run_distill(run, config, device="cpu", teacher=teacher, out=run.root / out)


def results_of(student):
    return read_json(student / RUN_JSON)["results"]


def unboxed(run):
    return {case.case_id for case in read_cases(run.data) if case.annotation == "unknown"}


def test_no_detector_is_needed_and_all_that_was_believed_is_on_disk(whole):
    run, student = whole, whole.student
    rows = read_table(student / COLEARNING_CSV, ColearningRow)
    assert {row.case_id for row in rows} == unboxed(run)
    assert {row.round for row in rows} == {1, 2, 3}
    last = [row for row in rows if row.round == 3]
    assert sum(row.believed != "nothing" for row in last) >= 0.8 * len(last)
    for row in last:
        if row.believed != "nothing":
            assert row.weight == pytest.approx(max(0.02, row.expected_dice**2), abs=1e-3)
            assert 0 <= row.x1 < row.x2 <= SIZE
    assert (student / COLEARNING_PNG).stat().st_size > 1000
    assert len(load_heads(student).heads) == FEW.heads
    assert results_of(student)["more_boxes"]["told"].startswith("too few boxed images")
    assert 0 < results_of(student)["more_boxes"]["box_iou"] <= 1
    results = read_json(student / RUN_JSON)["results"]
    assert results["believed"]["head"] == sum(row.believed == "head" for row in last)
    assert results["train_cases"] == 6 + len(last)
    assert results["cases_without_box"] == results["targets_rejected"] == 0


def test_what_is_believed_lies_on_the_squares(whole):
    beliefs = load_beliefs(whole.student)
    for case in read_cases(whole.data):
        if case.case_id in beliefs and beliefs[case.case_id][0].source != "nothing":
            truth = square(int(case.case_id))[1]
            found = beliefs[case.case_id][0].probs > 0.5
            assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.7


def test_the_same_seed_gives_the_same_bytes_also_without_room_for_encodings(run, whole):
    first = whole.student
    second = distil(run, encodings_gb=0.0)
    for name in ("model.safetensors", "metrics.csv", COLEARNING_CSV):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_nobody_is_asked_or_shown_an_image_twice(copied):
    teacher = PaintingTeacher()
    asked = []
    decode = teacher.decode
    teacher.decode = lambda *arguments: asked.append(1) or decode(*arguments)
    distil(copied, "student-again", teacher=teacher)
    assert (teacher.images, len(asked)) == (0, 0)


def test_an_interrupted_training_takes_up_what_was_believed(run, whole, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fitting, "train_student", stop)
        with pytest.raises(KeyboardInterrupt):
            distil(run)
    assert (run.student / BELIEFS_NPZ).exists()
    before = (run.student / COLEARNING_CSV).read_bytes()
    interrupted = distil(run)
    assert (interrupted / COLEARNING_CSV).read_bytes().startswith(before)
    for name in ("model.safetensors", "metrics.csv", COLEARNING_CSV):
        assert (interrupted / name).read_bytes() == (whole.student / name).read_bytes()


@pytest.mark.parametrize("killed_in", ["asking the student", "the sheet", "the second half"])
def test_a_student_is_asked_once_however_often_it_is_interrupted(
    run, whole, monkeypatch, killed_in
):
    place = {
        "asking the student": (UnboxedImages, "ask_student"),
        "the sheet": (joining, "write_sheet"),
        "the second half": (Colearning, "teach_anew"),
    }[killed_in]
    original = getattr(*place)
    calls = []

    def second(*arguments, **named):
        # The sheet is drawn by the heads' rounds, too.
        calls.append(1)
        if len(calls) == (2 if killed_in == "the sheet" else 1):
            raise KeyboardInterrupt
        return original(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(*place, second)
        with pytest.raises(KeyboardInterrupt):
            distil(run)
    teacher = PaintingTeacher()
    interrupted = distil(run, teacher=teacher)
    assert teacher.images == 0
    for name in ("model.safetensors", "metrics.csv", COLEARNING_CSV):
        assert (interrupted / name).read_bytes() == (whole.student / name).read_bytes()


def stop_once_the_student_was_asked(run, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Colearning, "teach_anew", stop)  # the student was asked
        with pytest.raises(KeyboardInterrupt):
            distil(run)


def test_training_that_begins_anew_begins_with_what_was_believed_first(run, whole, monkeypatch):
    stop_once_the_student_was_asked(run, monkeypatch)
    assert (run.student / BELIEFS_AGAIN_NPZ).exists()
    (run.student / LAST_CKPT).write_bytes(b"damaged")
    (run.student / PREVIOUS_CKPT).unlink(missing_ok=True)
    again = distil(run)
    for name in ("model.safetensors", "metrics.csv", COLEARNING_CSV):
        assert (again / name).read_bytes() == (whole.student / name).read_bytes()


def test_where_all_is_settled_training_goes_on_without_the_teacher(run, whole, monkeypatch):
    stop_once_the_student_was_asked(run, monkeypatch)

    def gone(_):
        raise AssertionError("the teacher was loaded")

    monkeypatch.setattr(Distillation, "teacher", property(gone))
    again = distil(run)
    assert (again / "model.safetensors").read_bytes() == (
        whole.student / "model.safetensors"
    ).read_bytes()


def test_a_student_that_is_not_asked_leaves_the_heads_beliefs(run):
    student = distil(run, ask_again=False)
    assert {row.round for row in read_table(student / COLEARNING_CSV, ColearningRow)} == {1, 2}
    assert not (student / BELIEFS_AGAIN_NPZ).exists()


def test_ignored_images_teach_nothing(run):
    student = distil(run, unboxed="ignore")
    assert read_json(student / RUN_JSON)["results"]["train_cases"] == 6
    assert not (student / COLEARNING_CSV).exists()


def test_where_all_are_boxed_nothing_changes(tmp_path):
    run = prepare_squares(tmp_path, boxed=0)
    auto = distil(run)
    off = distil(run, "student-off", unboxed="detected")
    assert (auto / "model.safetensors").read_bytes() == (off / "model.safetensors").read_bytes()
    assert not (auto / COLEARNING_CSV).exists()
    with pytest.raises(InputError, match="every training case was looked at"):
        distil(run, "student-on", unboxed="propose")


def test_one_boxed_image_is_enough_to_begin_with(tmp_path):
    run = prepare_squares(tmp_path, boxed=1)
    student = distil(run)
    assert read_json(student / RUN_JSON)["results"]["train_cases"] > 1


def odd_picture(kind, index):
    """A picture that nobody boxed and that has little to do with the boxed ones."""
    rng = np.random.default_rng(100 + index)
    if kind == "empty":
        return rng.integers(20, 70, (SIZE, SIZE, 3), dtype=np.uint8)
    if kind == "foreign":
        return rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    return square(index % 6)[0]


@pytest.mark.parametrize(
    ("kind", "least", "most"), [("empty", 0, 0), ("foreign", 0, 1), ("copies", 1, 1)]
)
def test_unboxed_images_may_be_anything(tmp_path, kind, least, most):
    write_squares(tmp_path / "source", 6)
    for index in range(6, 18):
        write_png(tmp_path / "source/images" / f"{index:03d}.png", odd_picture(kind, index))
    run = RunDir(tmp_path / "run")
    config = PrepareConfig(
        source=str(tmp_path / "source"), test_fraction=0.1, val_fraction=0.0, duplicate_bits=0
    )
    run_prepare(run, config, seed=0)
    student = distil(run)
    last = [row for row in read_table(student / COLEARNING_CSV, ColearningRow) if row.round == 3]
    found = sum(row.believed != "nothing" for row in last)
    assert len(last) > 5
    assert least <= found / len(last) <= most


class FloodingTeacher(PaintingTeacher):
    """Answers the whole image to every third question."""

    fingerprint = "flooding-1"
    questions = 0

    def decode(self, encoded, boxes_xyxy_px, mask_logits=None):
        FloodingTeacher.questions += 1
        if FloodingTeacher.questions % 3 == 0:
            whole = [np.array([[0, 0, w, h]], np.float32) for h, w in encoded.sizes_hw]
            return super().decode(encoded, whole)
        return super().decode(encoded, boxes_xyxy_px)


def test_an_answer_that_covers_the_whole_image_is_none(run):
    student = distil(run, teacher=FloodingTeacher())
    for case_id, (belief,) in load_beliefs(student).items():
        assert (belief.probs > 0.5).mean() < 0.5, case_id
    rows = read_table(student / COLEARNING_CSV, ColearningRow)
    assert any(row.believed == "nothing" for row in rows)
    assert any(row.believed != "nothing" for row in rows)
