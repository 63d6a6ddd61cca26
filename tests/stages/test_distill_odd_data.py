"""`meddistill distill` with few boxes on data that nobody would wish for: it ends, with one line where
that is all there is to say."""

import numpy as np
import pytest
import torch
from support.bright_squares import SIZE, square, write_squares
from support.painting_teacher import PaintingTeacher
from support.tiny_student import TinyStudent

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import MedDistillError
from meddistill.base.files import read_json
from meddistill.colearning.colearning_row import ColearningRow
from meddistill.data.formats.pictures import write_png
from meddistill.run.layout import COLEARNING_CSV, RUN_JSON, RunDir
from meddistill.run.tables import read_cases
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.prepare import run_prepare
from meddistill.teachers.teacher import BoxMasks
from meddistill.training import fitting

CONFIG = DistillConfig(
    encoder_weights="none",
    image_size=SIZE,
    epochs=1,
    batch_size=4,
    targets=TargetsConfig(jitter_copies=1, views="whole"),
    colearning=ColearningConfig(steps=2, head_steps=40, heads=2, rounds=1),
    precision="32-true",
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(fitting, "build_student", lambda *_, **__: TinyStudent())


def prepare(root, unboxed):
    """Five boxed pictures and those of `unboxed`; none in validation, none in the test split."""
    source = root / "source"
    write_squares(source, 5)
    for index, picture in enumerate(unboxed):
        write_png(source / "images" / f"u{index}.png", picture)
    boxes = ["image,x1,y1,x2,y2"]
    for index in range(5):
        ys, xs = np.nonzero(square(index)[1])
        sides = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
        boxes.append(",".join(map(str, (f"{index:03d}.png", *sides))))
    (source / "boxes.csv").write_text("\n".join(boxes) + "\n")
    for path in (source / "masks").iterdir():
        path.unlink()
    (source / "masks").rmdir()
    run = RunDir(root / "run")
    config = PrepareConfig(
        source=str(source),
        dataset="folder",
        boxes=str(source / "boxes.csv"),
        test_fraction=0.0,
        val_fraction=0.0,
        duplicate_bits=0,
    )
    run_prepare(run, config, seed=0)
    return run


def distil(run, teacher=None):
    return run_distill(run, CONFIG, device="cpu", teacher=teacher or PaintingTeacher())


def dark(seed):
    return np.random.default_rng(seed).integers(20, 70, (SIZE, SIZE, 3), dtype=np.uint8)


UNBOXED = {
    "empty": [dark(seed) for seed in range(50, 54)],
    "foreign": [np.random.default_rng(9).integers(0, 255, (SIZE, 40, 3), dtype=np.uint8)] * 3,
    "copies of the boxed": [square(index)[0] for index in range(4)],
}


@pytest.mark.parametrize("kind", UNBOXED)
def test_unboxed_images_of_any_kind_end_in_a_student(tmp_path, kind):
    run = prepare(tmp_path, UNBOXED[kind])
    unknown = [case for case in read_cases(run.data) if case.annotation == "unknown"]
    assert len(unknown) == len(UNBOXED[kind])
    student = distil(run)
    rows = read_table(student / COLEARNING_CSV, ColearningRow)
    assert {row.case_id for row in rows} == {case.case_id for case in unknown}
    results = read_json(student / RUN_JSON)["results"]
    assert results["train_cases"] == 5 + len(unknown)
    assert np.isfinite([row.weight for row in rows]).all()


class Flooding(PaintingTeacher):
    """Answers every box by the whole image, and is sure of it."""

    fingerprint = "flooding-1"

    def decode(self, encoded, boxes_xyxy_px, mask_logits=None):
        found = super().decode(encoded, boxes_xyxy_px)
        return [BoxMasks(torch.full_like(m.logits, 8.0), m.predicted_iou) for m in found]


def test_answers_that_cover_the_whole_image_are_not_taken_for_lesions(tmp_path):
    run = prepare(tmp_path, [square(index)[0] for index in range(20, 24)])
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())  # targets of the boxed
    with pytest.raises(
        MedDistillError, match="masks of all 5 boxed training images are empty or do not fit"
    ):
        distil_again(run, Flooding())


def distil_again(run, teacher):
    return run_distill(run, CONFIG, device="cpu", teacher=teacher, out=run.root / "student-2")


def test_another_teacher_does_not_use_the_answers_of_the_first(tmp_path):
    run = prepare(tmp_path, [square(index)[0] for index in range(20, 23)])
    distil(run)
    other = PaintingTeacher()
    other.fingerprint = "painting-2"
    distil_again(run, other)
    assert other.images >= 8


def test_killed_while_answers_are_asked_for_it_asks_nothing_twice(tmp_path):
    run = prepare(tmp_path, [square(index)[0] for index in range(20, 26)])
    whole, cut, rest = (counted(PaintingTeacher()) for _ in range(3))
    distil_again(run, whole)
    for folder in ("teacher", "student-2"):
        (run.root / folder).rename(tmp_path / f"whole-{folder}")
    cut.most = len(whole.asked) - 3
    with pytest.raises(KeyboardInterrupt):
        distil(run, cut)
    student = distil(run, rest)
    assert len(cut.asked) + len(rest.asked) == len(whole.asked)
    for name in (COLEARNING_CSV, "model.safetensors"):
        theirs = tmp_path / "whole-student-2" / name
        assert (student / name).read_bytes() == theirs.read_bytes()


def counted(teacher):
    """The teacher with a list of its answers, that is killed after `most` of them."""
    teacher.asked, teacher.most = [], 10_000
    decode = teacher.decode

    def ask(*arguments):
        if len(teacher.asked) >= teacher.most:
            raise KeyboardInterrupt
        teacher.asked.append(1)
        return decode(*arguments)

    teacher.decode = ask
    return teacher
