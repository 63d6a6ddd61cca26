from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.prepare.splits import (
    STRATIFICATIONS,
    HeldOut,
    assign_folds,
    choose_groups,
    keep_boxes,
    seeded_order,
    size_terciles,
    split_by_groups,
    take_cases,
)
from meddistill.settings.prepare import PrepareConfig


def split(
    groups, strata=None, test=None, val=None, test_fraction=0.2, val_fraction=0.15, **changes
):
    held_out = HeldOut(test_fraction, test), HeldOut(val_fraction, val)
    return split_by_groups(
        groups, strata or [""] * len(groups), *held_out, **{"seed": 0, **changes}
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 12).map(str), min_size=1, max_size=60), st.integers(0, 5))
def test_a_group_never_straddles_a_split(groups, seed):
    found = split(groups, seed=seed)
    by_group = {}
    for group, name in zip(groups, found, strict=True):
        assert by_group.setdefault(group, name) == name


def test_shares_are_met_where_groups_are_small():
    counts = Counter(split([str(i) for i in range(1000)]))
    assert counts["test"] == 200
    assert counts["val"] == 120


def test_each_class_gets_its_share():
    strata = ["rare"] * 20 + ["common"] * 180
    found = split([str(i) for i in range(200)], strata)
    assert Counter(zip(strata, found, strict=True))[("rare", "test")] == 4


def test_the_same_seed_gives_the_same_split_and_another_gives_another():
    groups = [str(i) for i in range(100)]
    assert split(groups) == split(groups)
    assert split(groups) != split(groups, seed=1)


def test_named_groups_go_where_they_are_put_and_the_rest_is_drawn():
    groups = ["a", "a", *"bcdefghijk"]
    found = split(groups, test=[group == "a" for group in groups])
    assert [index for index, name in enumerate(found) if name == "test"] == [0, 1]
    assert "val" in found


def test_a_named_split_that_cuts_a_group_is_refused():
    with pytest.raises(
        InputError, match="group 'a' has cases inside and outside of the test split"
    ):
        split(["a", "a", "b"], test=[True, False, False])


def test_a_group_named_for_two_splits_is_refused():
    with pytest.raises(InputError, match="group 'a' is chosen for both test and val"):
        split(["a", "b"], test=[True, False], val=[True, False])


def test_a_named_split_without_cases_is_refused():
    with pytest.raises(InputError, match="no case is chosen for the val split"):
        split(["a", "b"], val=[False, False])


def test_one_group_stays_in_training():
    assert split(["a", "a"]) == ["train", "train"]


def test_two_groups_give_one_for_testing():
    assert sorted(split(["a", "b"], val_fraction=0.0)) == ["test", "train"]


def test_no_share_chooses_nothing():
    assert choose_groups(["a", "b"], ["", ""], 0.0, 0, "test") == set()


def test_subset_takes_whole_groups_but_the_last():
    groups = ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    kept = take_cases(groups, 6, 0, "x")
    assert sorted(
        Counter(group for group, stays in zip(groups, kept, strict=True) if stays).values()
    ) == [2, 4]
    assert take_cases(groups, 0, 0, "x") == [True] * 12
    assert take_cases(groups, 12, 0, "x") == [True] * 12


def test_fewer_boxes_are_a_subset_of_more():
    groups = [str(i) for i in range(40)]
    quarter, half = keep_boxes(groups, 0.25, 0), keep_boxes(groups, 0.5, 0)
    assert len(quarter) == 10
    assert quarter < half
    assert keep_boxes(groups, 0.0, 0) == set()
    assert len(keep_boxes(groups, 0.001, 0)) == 1
    assert keep_boxes(groups, 1.0, 0) == set(groups)


def test_order_of_groups_does_not_change_where_others_come():
    few = seeded_order(["a", "b", "c"], 0, "x")
    more = seeded_order(["a", "b", "c", "d", "e"], 0, "x")
    assert [name for name in more if name in few] == few


def test_folds_share_out_groups_and_classes():
    groups = [str(index // 2) for index in range(200)]
    strata = ["rare" if int(group) % 5 == 0 else "common" for group in groups]
    folds = assign_folds(groups, strata, 5, 0)
    assert Counter(folds) == dict.fromkeys(range(5), 40)
    assert Counter(
        fold for fold, stratum in zip(folds, strata, strict=True) if stratum == "rare"
    ) == dict.fromkeys(range(5), 8)
    by_group = {}
    for group, fold in zip(groups, folds, strict=True):
        assert by_group.setdefault(group, fold) == fold


def test_no_fold_is_empty_even_if_every_group_is_its_own_kind():
    assert sorted(assign_folds(["a", "b", "c"], ["x", "y", "z"], 3, 0)) == [0, 1, 2]


def test_more_folds_than_groups_are_refused():
    with pytest.raises(InputError, match="2 groups cannot make 3 folds"):
        assign_folds(["a", "b"], ["", ""], 3, 0)


def test_terciles_of_lesion_size():
    assert size_terciles([0.0, 0.1, 0.2, 0.3]) == ["none", "small", "medium", "large"]
    assert size_terciles([0.0, 0.0]) == ["none", "none"]


def test_lesion_sizes_are_shared_out():
    strata = ["large"] * 30 + ["small"] * 270
    found = split([str(index) for index in range(300)], strata)
    assert Counter(zip(strata, found, strict=True))[("large", "test")] == 6


def test_a_group_keeps_the_split_it_had():
    old = split([str(index) for index in range(40)])
    groups = [str(index) for index in range(60)]
    fixed = dict(zip(groups, old, strict=False))
    new = split(groups, fixed=fixed)
    assert new[:40] == old
    assert set(new[40:]) == {"train", "val", "test"}


def test_the_setting_knows_every_way_to_balance_and_no_other():
    for name in STRATIFICATIONS:
        PrepareConfig(stratify=name)
    with pytest.raises(ConfigError, match=r"class\+size, class, none"):
        PrepareConfig(stratify="age")
    assert list(STRATIFICATIONS) == ["class+size", "class", "none"]
