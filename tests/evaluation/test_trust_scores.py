"""Known answers: what is judged of expected Dice, rejection, flags and odds."""

import numpy as np
import pytest

from meddistill.evaluation.trust_scores import (
    area_under_roc,
    froc,
    judge_expected,
    judge_rejection,
    risk_by_coverage,
    sentences,
)

DICE = np.array([0.0, 0.5, 0.6, 0.8, 0.9])


def test_a_perfect_forecast_has_no_error():
    told = judge_expected(DICE, DICE, DICE, DICE)
    assert (told["mean_error"], told["covered"], told["width"]) == (0, 1, 0)
    assert told["spearman"] == pytest.approx(1)
    assert told["constant_width"] == pytest.approx(0.9)  # to hold all of them blindly


def test_a_constant_forecast_ranks_nothing():
    flat = np.full(5, 0.6)
    told = judge_expected(flat, flat - 0.1, flat + 0.1, DICE)
    assert (told["spearman"], told["covered"]) == (0, 0.4)
    assert told["constant_width"] == pytest.approx(0.1)


def test_risk_falls_as_less_is_covered():
    curve, area = risk_by_coverage(DICE, DICE)
    np.testing.assert_allclose(curve, [0.1, 0.15, 0.7 / 3, 0.3, 0.44])
    assert area == pytest.approx(curve.mean())
    assert risk_by_coverage(-DICE, DICE)[1] > area
    np.testing.assert_allclose(risk_by_coverage(np.ones(5), DICE)[0], 0.44)  # knows nothing


def test_rejecting_the_worst_fifth():
    told = judge_rejection({"expected": DICE, "confidence": -DICE}, DICE)
    assert told["all"] == pytest.approx(0.56)
    assert told["expected"]["kept"] == told["oracle"]["kept"] == pytest.approx(0.7)
    assert told["confidence"]["kept"] == pytest.approx(0.475)
    said = sentences(judge_expected(DICE, DICE, DICE, DICE), told)
    assert "from 0.560 to 0.700: 100% of what" in said[2]
    assert "too few" in said[0]


def test_rejection_says_nothing_where_nothing_can_be_said():
    def said(dice, expected):
        told = judge_expected(expected, expected, expected, dice)
        return sentences(told, judge_rejection({"expected": expected}, dice))[2]

    assert said(DICE[:4], DICE[:4]).endswith("to a person: too few images to say what that gains.")
    assert said(np.full(5, 0.8), DICE).endswith("gains nothing: all are equally good.")
    assert "lowers the mean from 0.560 to 0.475: -" in said(DICE, -DICE)


def test_area_under_roc_counts_ties_half():
    own = np.array([1.0, 2.0])
    assert area_under_roc(own, np.array([3.0])) == 1
    assert area_under_roc(own, np.array([2.0])) == 0.75
    assert area_under_roc(own, np.array([0.0])) == 0


def test_sensitivity_at_false_alarm_rates():
    odds = np.array([0.9, 0.8, 0.3, 0.85, 0.1, 0.1, 0.1, 0.1])
    present = np.array([True] * 3 + [False] * 5)
    told = froc(odds, present, (0.0, 0.2))
    assert [each["sensitivity"] for each in told] == pytest.approx([1 / 3, 1])
    assert froc(odds, np.ones(8, bool)) == []
