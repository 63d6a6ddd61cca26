"""Statistics: known answers, and that the group, not the case, is what is resampled."""

import numpy as np
import pytest
from scipy import stats

from meddistill.evaluation.statistics import bootstrap_ratios, compare_paired, describe


def test_mean_median_and_quartiles():
    spread = describe([1.0, 2.0, 3.0, 4.0, 10.0], list("abcde"))
    assert (spread.n, spread.n_groups, spread.mean) == (5, 5, 4.0)
    assert (spread.q1, spread.median, spread.q3) == (2.0, 3.0, 4.0)


def test_the_interval_of_independent_cases_is_the_textbooks():
    values = np.random.default_rng(1).normal(0.8, 0.1, 400)
    spread = describe(values, [str(i) for i in range(400)])
    half_width = 1.96 * values.std() / np.sqrt(400)
    assert spread.ci95 == pytest.approx(
        (values.mean() - half_width, values.mean() + half_width), abs=0.001
    )


def test_copies_of_a_case_in_its_group_do_not_narrow_the_interval():
    values = np.random.default_rng(2).normal(0.8, 0.1, 40)
    names = [str(i) for i in range(40)]
    once = describe(values, names)
    ten_slices_each = describe(np.repeat(values, 10), np.repeat(names, 10).tolist())
    as_if_independent = describe(np.repeat(values, 10), [str(i) for i in range(400)])
    width = once.ci95[1] - once.ci95[0]
    assert ten_slices_each.ci95 == pytest.approx(once.ci95)
    assert as_if_independent.ci95[1] - as_if_independent.ci95[0] == pytest.approx(
        width / np.sqrt(10), rel=0.1
    )


def test_large_groups_count_by_their_cases():
    # The mean over cases is 0.1; resampling draws whole groups, so a resample without group `a` has
    # mean 1.
    spread = describe([0.0] * 9 + [1.0], ["a"] * 9 + ["b"])
    assert spread.mean == pytest.approx(0.1)
    assert spread.ci95 == (0.0, 1.0)


def test_one_group_has_no_interval():
    assert describe([0.5, 0.7], ["a", "a"]).ci95 is None


def test_a_seed_gives_the_same_interval_and_chunks_do_not_change_it(monkeypatch):
    values, names = np.random.default_rng(3).random(30), [str(i) for i in range(30)]
    first = describe(values, names, seed=5).ci95
    assert describe(values, names, seed=5).ci95 == first
    assert describe(values, names, seed=6).ci95 != first
    monkeypatch.setattr("meddistill.evaluation.statistics._CHUNK_ENTRIES", 1000)
    assert describe(values, names, seed=5).ci95 == first


def test_a_pooled_ratio_is_bootstrapped_as_a_ratio():
    # Every group has the ratio 1/2, so every resample has, whatever the groups' sizes.
    assert bootstrap_ratios([([1, 2, 50], [2, 4, 100], ["a", "b", "c"])]) == (0.5, 0.5)
    assert bootstrap_ratios([([0, 0], [0, 0], ["a", "b"])]) is None


def test_a_paired_difference_knows_sign_interval_and_counts():
    second = np.random.default_rng(4).random(50)
    first = second + 0.1
    first[:5] = second[:5] - 0.01
    result = compare_paired(first, second, [str(i) for i in range(50)])
    assert (result.n, result.n_groups, result.n_better, result.n_worse) == (50, 50, 45, 5)
    assert result.mean == pytest.approx(0.1 - 0.011)
    assert 0 < result.ci95[0] < result.mean < result.ci95[1]
    assert result.p_wilcoxon == pytest.approx(stats.wilcoxon(first - second).pvalue)
    assert compare_paired(second, first, [str(i) for i in range(50)]).mean == pytest.approx(
        -result.mean
    )


def test_the_test_is_over_groups():
    difference = np.array([0.1, 0.3, -0.2, 0.4])
    result = compare_paired(difference, np.zeros(4), ["a", "a", "b", "c"])
    assert result.p_wilcoxon == pytest.approx(stats.wilcoxon([0.2, -0.2, 0.4]).pvalue)


def test_equal_methods_do_not_differ():
    result = compare_paired([0.1, 0.9], [0.1, 0.9], ["a", "b"])
    assert (result.mean, result.ci95, result.p_wilcoxon) == (0.0, (0.0, 0.0), 1.0)


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="at least one value"):
        describe([], [])
    with pytest.raises(ValueError, match="2 values, but 1 groups"):
        describe([1, 2], ["a"])
    with pytest.raises(ValueError, match="not finite"):
        describe([float("nan")], ["a"])
