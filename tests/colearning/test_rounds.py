"""Co-learning: whose target a case has after a round, and how much it counts."""

import dataclasses

import numpy as np
import pytest
from support.painting_teacher import PaintingTeacher

from meddistill.colearning.rounds import LEAST_WEIGHT, refresh_targets
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import Preprocessing
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case, QualityRow
from meddistill.settings.targets import TargetsConfig
from meddistill.targets.making import TargetMaker
from meddistill.targets.prompts import NOTHING, Prompt
from meddistill.targets.requests import TargetRequest

SIZE = 32
LESION = np.array([[8, 8, 20, 20]], np.float32)
ELSEWHERE = np.array([[22, 22, 31, 31]], np.float32)
TARGETS = TargetsConfig(jitter_copies=0)


class SquareStudent:
    """Sees the bright square, and nothing in an image without one."""

    preprocessing = Preprocessing(SIZE)

    def predict_probs(self, images):
        return [(image[..., 0] > 128).astype(np.float32) for image in images]


@pytest.fixture
def settle(tmp_path):
    def refresh(case_id, boxes, source, annotation="unknown", bright=True, split="train"):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[0, 0] = 1
        if bright:
            image[8:20, 8:20] = 255
        case = Case(
            case_id,
            split,
            "g",
            "",
            annotation,
            False,
            f"{case_id}.png",
            SIZE,
            SIZE,
            int(annotation == "boxes"),
            "",
            "",
            "",
        )
        write_png(tmp_path / case.image, image)
        request = TargetRequest(case, boxes, source, SIZE)
        dataset = Dataset(tmp_path, [case])
        first, again = (
            TargetMaker(PaintingTeacher(), dataset, tmp_path / name, TARGETS, batch_size=1)
            for name in ("teacher", "rounds")
        )
        quality = first.make([request], no_box="empty")
        prompts = [Prompt(case, boxes, source)]
        rows = refresh_targets(again, SquareStudent(), prompts, quality, first.directory)
        assert len(rows) == 1
        return quality[0], rows[0]

    return refresh


def test_where_they_agree_the_students_box_gives_the_target(settle):
    old, new = settle("a", ELSEWHERE, "detected")
    assert (old.prompt_source, new.prompt_source) == ("detected", "student")
    assert new.key != old.key
    assert new.weight > 0.95


def test_a_case_that_had_no_box_enters(settle):
    old, new = settle("a", NOTHING, "unseen")
    assert old.n_boxes == 0
    assert (new.prompt_source, new.n_boxes) == ("student", 1)


def test_an_annotated_box_stays_and_counts_less_where_the_student_differs(settle):
    _, agreed = settle("a", LESION, "annotated", "boxes")
    assert agreed.prompt_source == "annotated"
    assert agreed.weight > 0.95
    old, doubted = settle("b", ELSEWHERE, "annotated", "boxes")
    assert doubted == dataclasses.replace(old, weight=LEAST_WEIGHT)


def test_a_target_that_the_student_does_not_see_counts_less(settle):
    old, new = settle("a", LESION, "detected", bright=False)
    assert new == dataclasses.replace(old, weight=LEAST_WEIGHT)


def test_a_case_found_healthy_and_a_validation_case_stay_as_they_are(settle):
    for case_id, source, annotation, split, boxes in (
        ("a", "none", "none", "train", NOTHING),
        ("b", "detected", "unknown", "val", ELSEWHERE),
    ):
        old, new = settle(case_id, boxes, source, annotation, split=split)
        assert isinstance(new, QualityRow)
        assert new == old


class TwoSquares:
    """Sees what is red as the first finding, what is green as the second."""

    preprocessing = Preprocessing(SIZE, findings=Findings(("red", "green")))

    def predict_probs(self, images):
        return [(image[..., :2] > 128).astype(np.float32).transpose(2, 0, 1) for image in images]


def test_a_finding_that_nobody_looked_for_enters_beside_one_that_was_boxed(tmp_path):
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[2:12, 2:12, 0] = image[16:28, 16:28, 1] = 255
    about = ("c", "train", "g", "", "boxes", False, "c.png", SIZE, SIZE, 1, "", "", "")
    case = Case(*about, findings="red")
    write_png(tmp_path / case.image, image)
    dataset = Dataset(tmp_path, [case])
    box = np.array([[2, 2, 12, 12]], np.float32)
    first, again = (
        TargetMaker(PaintingTeacher(), dataset, tmp_path / name, TARGETS, batch_size=1)
        for name in ("teacher", "rounds")
    )
    quality = first.make([TargetRequest(case, box, "annotated", SIZE, finding="red")])
    prompts = [Prompt(case, box, "annotated", "red")]
    rows = refresh_targets(again, TwoSquares(), prompts, quality, first.directory)
    assert [(row.finding, row.prompt_source) for row in rows] == [
        ("red", "annotated"),
        ("green", "student"),
    ]
    assert min(row.weight for row in rows) > 0.9
