"""What is believed of an unboxed image, and how far."""

import numpy as np
import pytest

from meddistill.colearning.answers import Answer
from meddistill.colearning.beliefs import (
    ANSWER,
    HEAD,
    HEAD_WEIGHT,
    believe,
    calibrate,
    count_sources,
    dice,
    pixel_weights,
    sureness,
)
from meddistill.colearning.proposals import propose


def square(x, value=0.9, width=10):
    probs = np.zeros((32, 32), np.float32)
    probs[4:14, x : x + width] = value
    return probs


def asked(head, answer, predicted=0.8):
    return propose(head, 0.5, 1), Answer(answer, predicted)


def test_an_answer_that_agrees_is_believed_as_far_as_it_agrees():
    head, answer = square(4), square(5, value=1.0)
    belief = believe(head, *asked(head, answer))
    assert belief.source == ANSWER
    assert belief.weight == pytest.approx(0.9)
    assert belief.probs is answer


def test_else_the_heads_soft_mask_is_with_half_the_weight():
    head, answer = square(4), square(18, value=1.0)
    belief = believe(head, *asked(head, answer))
    assert (belief.source, belief.weight) == (HEAD, HEAD_WEIGHT)
    assert belief.probs is head


def test_an_answer_that_covers_the_whole_image_is_not_believed():
    head = square(4)
    assert believe(head, *asked(head, np.ones((32, 32), np.float32))).source == HEAD


def test_nothing_proposed_is_an_answer_too():
    nothing = np.full((32, 32), 0.1, np.float32)
    belief = believe(nothing, None, None)
    assert belief.source == HEAD
    assert belief.probs is nothing


def test_two_empty_masks_agree():
    empty = np.zeros((4, 4), bool)
    assert dice(empty, empty) == 1
    assert dice(empty, ~empty) == 0


def test_a_pixel_counts_as_far_as_it_is_sure():
    weights = pixel_weights(np.array([[0.0, 0.5, 1.0]], np.float32))
    assert weights[0].tolist() == pytest.approx([1.0, 0.2, 1.0])


def test_sureness_is_of_teacher_and_head():
    proposal, answer = asked(square(4, 0.75), square(4), predicted=0.8)
    assert sureness(proposal, answer) == pytest.approx(0.6)


def test_what_sureness_was_worth_rises_and_few_pairs_promise_little():
    rng = np.random.default_rng(0)
    sure = rng.random(200)
    calibration = calibrate(sure, np.clip(sure - 0.3, 0, 1))
    values = [calibration(value) for value in np.linspace(0, 1, 21)]
    assert values == sorted(values)
    assert calibration(0.8) == pytest.approx(0.5, abs=0.08)
    assert 0 <= min(values) <= max(values) <= 1
    one = calibrate(np.array([0.9]), np.array([0.0]))
    assert one(0.5) > 0.3, "one bad answer must not end all hope"


def test_sources_are_counted():
    head = square(4)
    beliefs = {"a": believe(head, *asked(head, square(4))), "b": believe(head, None, None)}
    assert count_sources(beliefs) == {ANSWER: 1, HEAD: 1}
