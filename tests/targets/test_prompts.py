"""Whose boxes prompt the teacher, case by case."""

import numpy as np
import pytest

from meddistill.run.tables import Case
from meddistill.targets.prompts import cases_needing_detector, choose_prompts

MINE = np.array([[1, 1, 5, 5]], np.float32)
FOUND = np.array([[2, 2, 6, 6], [8, 8, 9, 9]], np.float32)


def case(case_id, split="train", annotation="boxes"):
    return Case(
        case_id,
        split,
        "g",
        "",
        annotation,
        False,
        f"images/{case_id}.png",
        16,
        16,
        int(annotation == "boxes"),
        "",
        "",
        "",
    )


def choose(one_case, boxes="annotated", no_box="skip", found=FOUND):
    annotated = {one_case.case_id: MINE} if one_case.annotation == "boxes" else {}
    detected = {} if found is None else {one_case.case_id: found}
    return choose_prompts([one_case], annotated, detected, boxes=boxes, no_box=no_box)


@pytest.mark.parametrize(
    ("annotation", "boxes", "count", "source"),
    [
        ("boxes", "annotated", 1, "annotated"),
        ("boxes", "detected", 2, "detected"),
        ("boxes", "both", 3, "annotated"),
        ("unknown", "annotated", 2, "detected"),
        ("unknown", "both", 2, "detected"),
        ("none", "annotated", 0, "none"),
        ("none", "both", 0, "none"),
        ("none", "detected", 2, "detected"),
    ],
)
def test_learning_cases(annotation, boxes, count, source):
    for split in ("train", "val"):
        prompts, skipped = choose(case("a", split, annotation), boxes)
        assert not skipped
        assert (len(prompts[0].boxes_xyxy_px), prompts[0].source) == (count, source)


@pytest.mark.parametrize(
    ("annotation", "boxes"), [("unknown", "annotated"), ("boxes", "detected"), ("none", "detected")]
)
def test_a_case_that_nobody_boxed_is_skipped_or_empty(annotation, boxes):
    prompts, skipped = choose(case("a", "train", annotation), boxes, "skip", found=None)
    assert not prompts
    assert [left.case_id for left in skipped] == ["a"]
    prompts, skipped = choose(case("a", "train", annotation), boxes, "empty", found=None)
    assert not skipped
    assert prompts[0].boxes_xyxy_px.shape == (0, 4)


@pytest.mark.parametrize("boxes", ["annotated", "detected", "both"])
def test_a_test_case_gets_the_detectors_boxes_only(boxes):
    prompts, skipped = choose(case("t", "test"), boxes)
    assert not skipped
    assert np.array_equal(prompts[0].boxes_xyxy_px, FOUND)
    missed, _ = choose(case("t", "test"), boxes, found=None)
    assert (len(missed[0].boxes_xyxy_px), missed[0].source) == (0, "none")


def test_without_a_detector_test_cases_get_no_prompt():
    prompts, skipped = choose_prompts(
        [case("t", "test"), case("a")], {"a": MINE}, None, boxes="annotated", no_box="skip"
    )
    assert [prompt.case.case_id for prompt in prompts] == ["a"]
    assert not skipped


def test_which_cases_need_a_detector():
    cases = [
        case("a"),
        case("u", annotation="unknown"),
        case("n", annotation="none"),
        case("t", "test", "unknown"),
    ]
    assert [found.case_id for found in cases_needing_detector(cases, "annotated")] == ["u"]
    assert [found.case_id for found in cases_needing_detector(cases, "detected")] == ["a", "u", "n"]
