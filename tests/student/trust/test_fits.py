"""The few numbers of trust, on arrays that one can draw: lines, intervals, meanings, cuts."""

import numpy as np
import pytest

from meddistill.student.trust.fits import (
    FEW_CASES,
    Meaning,
    best_cut,
    cross_fitted,
    fit_interval,
    fit_line,
    fit_meaning,
)


def drawn(count, seed=0):
    """Signals of which the first tells the Dice, the second nothing."""
    rng = np.random.default_rng(seed)
    signals = rng.normal(0, 1, (count, 2))
    return signals, 1 / (1 + np.exp(-1.5 * signals[:, 0])) * rng.uniform(0.9, 1, count)


def test_a_line_rises_with_what_tells_and_never_the_wrong_way():
    signals, dice = drawn(200)
    line = fit_line(signals, dice, (1, 0))
    assert line.weights[0] > 0.5
    assert abs(line.weights[1]) < 0.2
    assert np.corrcoef(line(signals), dice)[0, 1] > 0.95
    assert fit_line(signals, dice, (-1, 0)).weights[0] == 0  # may only fall, and it rises


def test_a_signal_that_never_changes_decides_nothing():
    signals, dice = drawn(60)
    signals[:, 1] = 3.0
    line = fit_line(signals, dice, (1, 1))
    assert line.weights[1] == pytest.approx(0, abs=1e-6)


def test_identical_cases_give_a_flat_line():
    line = fit_line(np.ones((20, 2)), np.full(20, 0.6), (1, 1))
    assert line(np.ones((1, 2)))[0] == pytest.approx(0.6, abs=0.05)
    assert line(np.array([[5.0, -5.0]]))[0] == pytest.approx(0.6, abs=0.05)


def test_cross_fitting_does_not_see_a_case_of_its_group():
    signals, dice = drawn(40)
    groups = [str(place // 4) for place in range(40)]
    found = cross_fitted(signals, dice, groups, (1, 1))
    changed = dice.copy()
    changed[:4] = 0
    again = cross_fitted(signals, changed, groups, (1, 1))
    np.testing.assert_allclose(again[:4], found[:4])  # its own Dice told it nothing
    assert not np.allclose(again, found)


def test_the_interval_holds_nine_in_ten_of_new_cases():
    signals, dice = drawn(150)
    line = fit_line(signals, dice, (1, 1))
    interval = fit_interval(line(signals), dice)
    others, theirs = drawn(2000, seed=1)
    low, high = interval(line(others))
    assert 0.85 <= np.mean((low <= theirs) & (theirs <= high)) <= 0.97
    assert np.mean(high - low) < 0.3
    assert (low <= line(others)).all()
    assert (line(others) <= high).all()


def test_too_few_cases_promise_nothing():
    expected = np.linspace(0.2, 0.9, FEW_CASES - 1)
    low, high = fit_interval(expected, expected)(np.array([0.3, 0.8]))
    np.testing.assert_array_equal([low, high], [[0, 0], [1, 1]])


def test_a_meaning_undoes_overconfidence_and_keeps_the_order():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.02, 0.98, 40000)
    logit = np.log(true / (1 - true))
    stated = 1 / (1 + np.exp(-3 * logit))
    target = (rng.uniform(size=len(true)) < true).astype(float)
    meaning = fit_meaning(stated, target, np.ones(len(true)))
    np.testing.assert_allclose(meaning(stated), true, atol=0.03)
    order = np.argsort(stated)
    assert (np.diff(meaning(stated)[order]) >= 0).all()


def test_pixels_without_weight_do_not_move_the_meaning():
    probs, target = np.array([0.2, 0.8, 0.8]), np.array([0.2, 0.8, 0.0])
    weight = np.array([1.0, 1.0, 0.0])
    np.testing.assert_allclose(fit_meaning(probs, target, weight)(probs[:2]), [0.2, 0.8], atol=0.01)


@pytest.mark.parametrize("target", [np.zeros(0), np.zeros(50), np.ones(50)])
def test_nothing_to_learn_from_leaves_probabilities_alone(target):
    probs = np.linspace(0, 1, len(target)).astype(np.float32)
    meaning = fit_meaning(probs, target, np.ones(len(target)))
    assert meaning == Meaning()
    np.testing.assert_array_equal(meaning(probs), probs)


def test_the_best_cut_parts_what_can_be_parted():
    odds = np.array([0.1, 0.2, 0.6, 0.9])
    assert 0.2 < best_cut(odds, np.array([False, False, True, True])) < 0.6
