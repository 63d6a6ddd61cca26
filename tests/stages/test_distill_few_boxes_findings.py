"""Few boxes of several findings: what nobody looked for is proposed, answered and believed by finding,
in unboxed images and in those that were boxed for another one."""

import csv
import dataclasses

import cv2
import numpy as np
import pytest
import torch
from support.painting_teacher import PaintingTeacher

from meddistill.base.csv_tables import read_table
from meddistill.colearning.belief_files import load_beliefs
from meddistill.colearning.beliefs import dice
from meddistill.colearning.colearning_row import ColearningRow
from meddistill.colearning.deciding import with_unboxed_decided
from meddistill.colearning.head_files import load_heads
from meddistill.colearning.joining import Colearning
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import load_labels
from meddistill.evaluation.baselines import TEACHER_BY_HEAD
from meddistill.evaluation.request import EvalRequest
from meddistill.run.dataset import Dataset
from meddistill.run.layout import (
    COLEARNING_CSV,
    COLEARNING_PNG,
    PER_CASE_CSV,
    QUALITY_CSV,
    RunDir,
)
from meddistill.run.tables import QualityRow
from meddistill.run.true_masks import mask_path
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.student.student import load_student
from meddistill.targets.cache import TargetFolders
from meddistill.targets.packing import Packing, pack_targets

RED_GREEN = Findings(("red", "green"))
SIZE = 64
CONFIG = DistillConfig(
    student="unet",
    encoder="tu-test_resnet",
    encoder_weights="none",
    decoder_channels=[16, 16, 8, 8, 8],
    image_size=SIZE,
    epochs=2,
    batch_size=4,
    targets=TargetsConfig(jitter_copies=1, views="whole"),
    precision="32-true",
    colearning=ColearningConfig(
        unboxed="propose", steps=6, head_steps=80, heads=2, rounds=2, boxed_share=0.5
    ),
)


def _source(root, count=16, both=4):
    """Pictures with a red and a green square; of training six are boxed, those beyond `both` for red
    alone."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    boxes, looked = ["image,x1,y1,x2,y2,class"], ["id,group,findings,part"]
    for index in range(count):
        rng = np.random.default_rng(index)
        image = rng.integers(20, 60, (SIZE, SIZE, 3), np.uint8)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for value, channel, left in ((1, 2, 2), (2, 1, 34)):
            x, y, side = left + int(rng.integers(8)), int(rng.integers(4, 34)), 18
            mask[y : y + side, x : x + side] = value
            image[y : y + side, x : x + side, channel] = 230
            name = RED_GREEN.names[value - 1]
            if index < (6 if name == "red" else both) or index >= count - 2:
                boxes.append(f"c{index:02d}.png,{x},{y},{x + side},{y + side},{name}")
        cv2.imwrite(str(root / "images" / f"c{index:02d}.png"), image)
        cv2.imwrite(str(root / "masks" / f"c{index:02d}.png"), mask)
        part = "test" if index >= count - 2 else "train"
        looked.append(f"c{index:02d},g{index},{'red' if both <= index < 6 else ''},{part}")
    (root / "groups.csv").write_text("\n".join(looked) + "\n")
    (root.parent / "boxes.csv").write_text("\n".join(boxes) + "\n")
    return root


def _distilled(root, both=4):
    config = PrepareConfig(
        source=str(_source(root / "source", both=both)),
        boxes=str(root / "boxes.csv"),
        findings=["red=1", "green=2"],
        test="part=test",
        val_fraction=0.0,
        duplicate_bits=0,
    )
    run = RunDir(root / "run")
    run_prepare(run, config, seed=0)
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return _distilled(tmp_path_factory.mktemp("red-green"))


def test_a_row_is_of_a_case_and_finding_that_nobody_looked_for(run):
    rows = read_table(run.student / COLEARNING_CSV, ColearningRow)
    asked = {(row.case_id, row.finding) for row in rows if row.round == 3}  # the student's
    cases = Dataset.open(run.data).of_split("train")
    assert asked == {
        (case.case_id, name)
        for case in cases
        for name in RED_GREEN.names
        if not case.looked_for(name)
    }
    assert ("c04", "green") in asked
    assert ("c04", "red") not in asked
    assert (run.student / COLEARNING_PNG).exists()


def test_squares_of_both_colours_are_found_and_told_apart(run):
    data = Dataset.open(run.data)
    scores = {(name, of): [] for name in RED_GREEN.names for of in RED_GREEN.names}
    for case_id, beliefs in load_beliefs(run.student).items():
        truth = load_labels(mask_path(run.data, data.by_id[case_id]))[0]
        for place, belief in enumerate(beliefs):
            for other, of in enumerate(RED_GREEN.names):
                if belief is not None:
                    found = dice(belief.probs > 0.5, truth == other + 1)
                    scores[RED_GREEN.names[place], of].append(found)
    assert len(scores["green", "green"]) == len(scores["red", "red"]) + 2
    # The teacher's map has a cell for eight pixels, the squares are eighteen wide.
    assert min(np.mean(scores[name, name]) for name in RED_GREEN.names) > 0.5
    assert max(np.mean(scores["red", "green"]), np.mean(scores["green", "red"])) < 0.05


def test_a_case_boxed_for_one_learns_what_is_believed_of_the_other(run):
    data = Dataset.open(run.data)
    rows = [
        row for row in read_table(run.teacher / QUALITY_CSV, QualityRow) if row.split == "train"
    ]
    packing = Packing(data, TargetFolders(run.teacher), SIZE, RED_GREEN)
    boxed = pack_targets(rows, packing)
    colearning = Colearning(data, CONFIG, run.teacher, run.student, 0)
    joined = colearning.join(boxed)
    colearning.teach_anew(joined)
    place = joined.case_ids.index("c04")
    batch, before = (each.batch(torch.tensor([place])) for each in (joined, boxed))
    (_, green) = load_beliefs(run.student)["c04"]
    assert before.known[0].tolist() == [1, 0]
    assert batch.known[0].tolist() == [1, 1]
    assert torch.equal(batch.probs[0, 0], before.probs[0, 0])
    assert batch.pixel_weight[0, 0].min() == 1
    assert batch.probs[0, 1].numpy() == pytest.approx(green.probs, abs=1 / 255)
    whole = joined.batch(torch.tensor([joined.case_ids.index("c00")]))
    assert whole.known[0].tolist() == [1, 1]
    assert joined.boxed == 6
    assert len(joined) == 14


def test_the_teacher_answers_the_heads_boxes_of_each_finding(run):
    config = EvalConfig(ask_teacher="always")
    out = run_eval(run, config, EvalRequest(), seed=0, teacher=PaintingTeacher())
    with (out / PER_CASE_CSV).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == TEACHER_BY_HEAD]
    assert {(row["case_id"], row["finding"]) for row in rows} == {
        (case_id, name) for case_id in ("c14", "c15") for name in RED_GREEN.names
    }
    assert min(float(row["dice"]) for row in rows) > 0.3


def test_the_student_knows_both(run):
    assert load_student(run.student).preprocessing.findings.names == RED_GREEN.names


def test_auto_is_on_where_few_are_boxed_and_others_unseen(run):
    auto = dataclasses.replace(CONFIG, colearning=ColearningConfig())
    assert with_unboxed_decided(auto, Dataset.open(run.data)).colearning.few_boxes


def test_a_finding_that_nobody_boxed_is_not_guessed_at(tmp_path, capfd):
    run = _distilled(tmp_path, both=0)
    assert "finding 'green' has no box to prompt the teacher with" in capfd.readouterr().err
    rows = read_table(run.student / COLEARNING_CSV, ColearningRow)
    assert {row.finding for row in rows} == {"red"}
    assert "c04" not in {row.case_id for row in rows}  # all that boxes teach is known there
    assert all(green is None for _, green in load_beliefs(run.student).values())
    assert load_heads(run.student).thresholds[1] == 1
