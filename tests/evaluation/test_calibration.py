"""Calibration: known answers, and that cases may come in any cut."""

import numpy as np
import pytest

from meddistill.evaluation.calibration import N_BINS, Calibration


def counted(probs, truth, near=False):
    calibration = Calibration(near)
    calibration.add(np.asarray(probs, dtype=np.float32), np.asarray(truth, dtype=bool))
    return calibration


def test_sure_and_right_is_perfect():
    calibration = counted([[0.0, 1.0]], [[False, True]])
    assert (calibration.brier, calibration.ece) == (0, 0)


def test_sure_and_wrong_is_worst():
    calibration = counted([[0.0, 1.0]], [[True, False]])
    assert (calibration.brier, calibration.ece) == (1, 1)


def test_half_probability_on_half_the_pixels_is_calibrated_but_not_sharp():
    calibration = counted([[0.5] * 4], [[True, False, True, False]])
    assert calibration.ece == 0
    assert calibration.brier == 0.25
    assert calibration.as_dict()["curve"] == {"prob": [0.5], "share": [0.5], "pixels": [4]}


def test_an_overconfident_bin_shows_in_ece_and_curve():
    calibration = counted([[0.9] * 10], [[True] * 6 + [False] * 4])
    assert calibration.ece == pytest.approx(0.3)
    assert calibration.as_dict()["curve"]["share"] == [0.6]


def test_near_pixels_leave_plain_background_out_but_not_a_missed_lesion():
    probs, truth = [[0.01] * 98 + [0.02, 0.6]], [[False] * 98 + [True, True]]
    assert counted(probs, truth).n_pixels == 100
    near = counted(probs, truth, near=True)
    assert near.n_pixels == 2
    assert near.brier == pytest.approx((0.98**2 + 0.4**2) / 2, abs=1e-6)


def test_cases_add_up_to_one_large_case():
    rng = np.random.default_rng(0)
    probs, truth = rng.random((8, 9)).astype(np.float32), rng.random((8, 9)) > 0.5
    whole, parts = counted(probs, truth), Calibration()
    for half in (slice(0, 3), slice(3, 8)):
        parts.add(probs[half], truth[half])
    assert parts.brier == pytest.approx(whole.brier)
    assert parts.ece == pytest.approx(whole.ece)
    assert whole.counts.sum() == 72
    assert whole.counts.size == N_BINS


def test_no_pixel_gives_zero():
    nothing = counted(np.zeros((2, 2)), np.zeros((2, 2)), near=True)
    assert (nothing.n_pixels, nothing.brier, nothing.ece) == (0, 0, 0)
