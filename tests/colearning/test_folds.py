"""Cross-validation by group."""

from collections import Counter

from meddistill.colearning.folds import group_folds

GROUPS = [
    name
    for name, count in zip("abcdefgh", (5, 4, 3, 3, 2, 1, 1, 1), strict=True)
    for _ in range(count)
]


def test_groups_stay_together_and_folds_are_balanced():
    folds = group_folds(GROUPS, 4, seed=0)
    assert len({(group, fold) for group, fold in zip(GROUPS, folds, strict=True)}) == 8
    assert Counter(folds) == {0: 5, 1: 5, 2: 5, 3: 5}


def test_fewer_groups_than_folds_give_a_fold_a_group():
    assert set(group_folds(["a", "a", "b"], 5, seed=0)) == {0, 1}
    assert group_folds(["a", "a"], 5, seed=0) == [0, 0]


def test_cases_without_a_group_are_groups_of_their_own():
    assert sorted(group_folds(["", "", ""], 3, seed=0)) == [0, 1, 2]


def test_the_seed_decides_and_nothing_else():
    assert group_folds(GROUPS, 3, seed=1) == group_folds(GROUPS, 3, seed=1)
    assert group_folds(["a", "b", "c", "d"], 2, 0) != group_folds(["a", "b", "c", "d"], 2, 3)
