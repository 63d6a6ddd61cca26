"""Boxes carried through volumes, by a teacher that marks what is bright inside a box."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from support.painting_teacher import PaintingTeacher
from support.small_volumes import BODY, SIDE, write_volumes

from meddistill.base.csv_tables import read_table
from meddistill.colearning.carrying import Reached, settled
from meddistill.run.layout import RunDir
from meddistill.run.tables import QualityRow, read_cases
from meddistill.run.volumes import within_reach
from meddistill.settings.distill import DistillConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.prepare import run_prepare
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.targets.cache import load_target
from meddistill.teachers.teacher import BoxMasks
from meddistill.training import fitting

EVERY = 4
CONFIG = DistillConfig(
    student="nested_unet",
    encoder_weights="none",
    image_size=SIDE,
    epochs=1,
    batch_size=8,
    picture_every=0,
    precision="32-true",
    empty_slices=1.0,
    targets=TargetsConfig(jitter_copies=1, views="whole", feature_grid=4),
)


class BrightTeacher(PaintingTeacher):
    """Marks bright pixels inside a box, and is sure where there are some."""

    fingerprint = "bright-1"

    def encode(self, images):
        encoded = super().encode(images)
        self.pictures = images
        return encoded

    def decode(self, encoded, boxes_xyxy_px, mask_logits=None):
        answers = super().decode(encoded, boxes_xyxy_px)
        sure = []
        for image, answer in zip(self.pictures, answers, strict=True):
            bright = torch.from_numpy(image[..., 0] > 120)
            logits = torch.where(bright & (answer.logits > 0), 8.0, -8.0)
            found = (logits > 0).flatten(1).sum(1) > 12
            sure.append(BoxMasks(logits, torch.where(found, 0.9, 0.1)))
        return sure


def prepared(tmp_path, **settings):
    write_volumes(tmp_path / "source")
    run = RunDir(tmp_path / "run")
    config = PrepareConfig(
        source=str(tmp_path / "source"), test_fraction=0.25, val_fraction=0.3, **settings
    )
    run_prepare(run, config, seed=0)
    return run


def distilled(run, config=CONFIG, **named):
    patch = pytest.MonkeyPatch()
    patch.setattr(fitting, "build_student", lambda *_, **__: NestedUNet((4, 4, 6)))
    run_distill(run, config, device="cpu", teacher=BrightTeacher(), **named)
    patch.undo()
    return read_table(run.teacher / "quality.csv", QualityRow)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Every fourth slice boxed (or seen to be empty), a student of what was carried from there."""
    run = prepared(tmp_path_factory.mktemp("carried"), box_every=EVERY)
    distilled(run)
    return run


def by_slice(run):
    cases = {case.case_id: case for case in read_cases(run.data)}
    rows = read_table(run.teacher / "quality.csv", QualityRow)
    volume = next(case.volume for case in cases.values() if case.split == "train")
    return {cases[row.case_id].slice: row for row in rows if cases[row.case_id].volume == volume}


def test_prepare_keeps_every_fourth_slices_annotation(run):
    cases = [case for case in read_cases(run.data) if case.split == "train"]
    known = {case.slice for case in cases if case.annotation != "unknown"}
    assert known == {0, 4, 8}
    assert {case.annotation for case in cases if case.slice in (4, 8)} == {"boxes"}
    unseen = sum(case.annotation == "unknown" for case in cases)
    assert within_reach(cases) == (unseen, 0)
    assert all(
        case.annotation != "unknown" for case in read_cases(run.data) if case.split == "test"
    )


def test_the_body_is_followed_to_its_ends_and_no_further(run):
    rows = by_slice(run)
    carried = {number for number, row in rows.items() if row.prompt_source == "carried"}
    found = {number for number in carried if rows[number].n_boxes and rows[number].accepted}
    assert found == {number for number in BODY if number % EVERY}
    assert {number for number in carried if not rows[number].n_boxes} == {11}
    for number in found:
        row = rows[number]
        assert 0.5 <= 1 - row.doubt <= 1
        assert row.weight == pytest.approx(0.5 * (1 - row.doubt), abs=1e-5)
        target = load_target(run.teacher, row.case_id, row.key).probs > 0.5
        assert target.sum() > 12
    assert rows[4].prompt_source == "annotated"
    assert rows[4].weight == 1


def test_the_student_learnt_from_them(run):
    results = json.loads((run.student / "run.json").read_text())["results"]
    assert results["prompt_sources"]["carried"] >= 8
    assert results["prompt_sources"]["annotated"] == 4


def test_carrying_again_asks_nothing(run, tmp_path):
    teacher = BrightTeacher()
    config = dataclasses.replace(CONFIG, epochs=2)
    patch = pytest.MonkeyPatch()
    patch.setattr(fitting, "build_student", lambda *_, **__: NestedUNet((4, 4, 6)))
    run_distill(run, config, device="cpu", teacher=teacher, out=run.root / "student-2")
    patch.undo()
    assert teacher.images == 0


def test_features_of_all_slices_lie_on_one_basis(run):
    rows = by_slice(run).values()
    assert {"annotated", "carried"} <= {row.prompt_source for row in rows}
    folder = run.teacher / "features"
    files = [folder / f"{row.case_id}.{row.key}.npz" for row in rows]
    assert len({str(np.load(file)["basis"]) for file in files}) == 1


def test_two_directions_that_differ_are_doubted(run):
    row = next(r for r in by_slice(run).values() if r.prompt_source == "carried" and r.n_boxes)
    left, right = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    left[4:12, 4:12] = right[4:12, 6:14] = True  # Dice .75
    surer, other = Reached(row, left, 0.9), Reached(row, right, 0.7)
    doubted = settled([surer, other], CONFIG.targets)
    assert 1 - doubted.doubt == pytest.approx(0.9 * 0.75)
    agreed = settled([surer, Reached(row, left, 0.7)], CONFIG.targets)
    assert 1 - agreed.doubt == pytest.approx(0.9)
    apart = settled([surer, Reached(row, np.roll(left, 12, 0), 0.7)], CONFIG.targets)
    assert (apart.accepted, apart.weight) == (False, 0.0)
    assert apart.reason == "trust 0.00 below 0.5: carried"
