"""What is believed of an unboxed image, and how far."""

import numpy as np
import pytest

from meddistill.colearning.answers import Answer
from meddistill.colearning.beliefs import (
    HEAD,
    LEAST_WEIGHT,
    NOTHING,
    NOTHING_WEIGHT,
    STUDENT,
    believe,
    calibrate,
    count_sources,
    dice,
    doubted,
    loss_weights,
    pixel_weights,
    settled,
    sureness,
)
from meddistill.colearning.proposals import propose
from meddistill.data.findings import Findings


def square(x, value=0.9, width=10):
    probs = np.zeros((32, 32), np.float32)
    probs[4:14, x : x + width] = value
    return probs


def asked(head, answer, predicted=0.8):
    return propose(head, 0.5, 1), Answer(answer, predicted)


def test_proposal_and_answer_are_believed_together_as_far_as_they_are_trusted():
    head, answer = square(4), square(5, value=1.0)
    belief = believe(head, asked(head, answer), 0.8, HEAD)
    assert belief.source == HEAD
    assert belief.weight == pytest.approx(0.64)
    assert belief.probs == pytest.approx((head + answer) / 2)
    assert believe(head, asked(head, answer), 0.8, STUDENT).source == STUDENT


def test_what_is_likely_wrong_hardly_counts():
    head = square(4)
    weights = [believe(head, asked(head, square(18)), e, HEAD).weight for e in (0.0, 0.1, 0.3, 0.9)]
    assert weights == pytest.approx([LEAST_WEIGHT, LEAST_WEIGHT, 0.09, 0.81])


def test_where_they_contradict_each_other_no_pixel_is_sure():
    head, answer = square(4, 1.0), square(18, 1.0)
    belief = believe(head, asked(head, answer), 0.8, HEAD)
    assert belief.probs.max() == pytest.approx(0.5)
    assert pixel_weights(belief.probs)[belief.probs > 0].max() == pytest.approx(0.2)


def test_a_map_without_a_proposal_is_believed_as_it_is():
    nothing = np.full((32, 32), 0.1, np.float32)
    belief = believe(nothing, None, 0.0, HEAD)
    assert (belief.source, belief.weight) == (NOTHING, NOTHING_WEIGHT)
    assert belief.probs is nothing


def test_what_another_does_not_see_is_believed_as_far_as_it_was_trusted():
    head, nothing = square(4, 1.0), np.zeros((32, 32), np.float32)
    belief = believe(head, asked(head, head), 0.9, HEAD)
    assert doubted(belief, nothing, 0.9).probs.max() == pytest.approx(0.9)
    assert doubted(belief, nothing, 0.2).probs.max() == pytest.approx(0.2)


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
    beliefs = {
        "a": (believe(head, asked(head, square(4)), 0.5, HEAD),),
        "b": (believe(head, None, 0.0, HEAD),),
        "c": (None, believe(head, asked(head, head), 0.5, STUDENT)),
    }
    assert count_sources(beliefs) == {HEAD: 1, STUDENT: 1, NOTHING: 1}


def test_believed_cases_count_one_on_average_however_little_is_trusted():
    head = square(4)
    trusted = {
        str(n): (believe(head, asked(head, head), e, HEAD),) for n, e in enumerate((0.9, 0.7))
    }
    weights = {case_id: one for case_id, (one,) in loss_weights(trusted).items()}
    assert sum(weights.values()) == pytest.approx(2)
    assert weights["0"] / weights["1"] == pytest.approx(0.81 / 0.49)
    doubtful = {str(n): (believe(head, asked(head, head), 0.2, HEAD), None) for n in range(9)}
    assert set(loss_weights(doubtful).values()) == {(1.0, 0.0)}
    one = doubtful | {"sure": (believe(head, asked(head, head), 1.0, HEAD),)}
    assert loss_weights(one)["sure"] == (2.0,)


def test_want_of_a_proposal_is_no_lesson_at_full_weight():
    head = square(4)
    nothing = {str(n): (believe(head, None, 0.0, HEAD),) for n in range(9)}
    assert set(loss_weights(nothing).values()) == {(0.6,)}
    usual = nothing | {
        "a" * n: (believe(head, asked(head, head), 0.9, HEAD),) for n in range(1, 20)
    }
    assert loss_weights(usual)["0"][0] == pytest.approx(0.25 / (0.25 * 9 + 0.81 * 19) * 28)


def test_findings_that_exclude_each_other_share_no_pixel_and_what_is_known_stays():
    head, other = square(4), square(10, value=0.8)
    a, b = believe(head, None, 0.0, HEAD), believe(other, None, 0.0, HEAD)
    findings = Findings(("a", "b"))
    one, two = settled((a, b), None, findings)
    assert one.probs[5, 12] == pytest.approx(head[5, 12])
    assert one.probs[5, 18] <= 0.2  # b is there
    assert two.probs[5, 12] == pytest.approx(0.1)  # a is there, more probable
    assert two.probs[5, 18] == pytest.approx(0.8)
    known = np.stack([np.zeros_like(other), other])
    first, none = settled((a, None), known, findings)
    assert none is None
    assert first.probs[5, 12] <= 0.5  # b is known to be there, less probable or not
    assert first.probs[5, 5] == pytest.approx(0.9)
    apart = Findings(("a", "b"), exclusive=False)
    assert settled((a, b), None, apart) == (a, b)
