"""Which image comes next."""

import numpy as np
import pytest

from meddistill.labelling.orders import CANDIDATES, ORDERS, Known, cover
from meddistill.run.tables import Case


def case_of(number, split="train"):
    name = f"c{number:03d}"
    return Case(name, split, "", "", "unknown", False, "", 9, 9, 0, "", name, f"{number:064x}")


def ids(cases):
    return [case.case_id for case in cases]


CASES = [case_of(number, "test" if number % 4 == 0 else "train") for number in range(40)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seen", [0, 15, 40])
def test_every_image_comes_once_and_test_images_last(order, seen):
    rng = np.random.default_rng(0)
    known = Known(
        {case.case_id: rng.normal(size=6).astype(np.float32) for case in CASES[:seen]},
        {case.case_id: rng.random() for case in CASES[: seen // 2]},
        ["gone", *ids(CASES[:2])],
    )
    left = CASES[2:]
    found = ORDERS[order](left, known)
    assert sorted(ids(found)) == sorted(ids(left))
    splits = [case.split for case in found]
    assert splits == sorted(splits, reverse=True)
    assert ids(ORDERS[order](left, known)) == ids(found)
    assert ORDERS[order]([], known) == []


def test_random_goes_on_in_the_same_order_after_a_restart():
    order = ids(ORDERS["random"](CASES, Known()))
    again = [case for case in CASES if case.case_id != order[0]]
    assert ids(ORDERS["random"](again, Known())) == order[1:]
    assert ids(ORDERS["random"](CASES, Known(seed=1))) != order


def test_the_most_doubtful_comes_first():
    features = {case.case_id: np.zeros(2, np.float32) for case in CASES}
    known = Known(features, {"c005": 0.4, "c007": 0.9, "c008": 1.0})
    assert ids(ORDERS["uncertain"](CASES, known))[:2] == ["c007", "c005"]  # c008 is a test image
    assert ORDERS["uncertain"](CASES, Known(features)) == ORDERS["random"](CASES, Known())


def clusters(sizes):
    """Features (N, 2) of groups far apart, and which group each is of."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]], float)[: len(sizes)]
    of = np.repeat(np.arange(len(sizes)), sizes)
    return (centres[of] + rng.normal(scale=0.1, size=(len(of), 2))).astype(np.float32), of


def test_covering_takes_one_of_each_kind_the_largest_first():
    features, of = clusters([4, 12, 7])
    chosen = cover(features, np.zeros((0, 2)), np.ones(23), 3)
    assert of[chosen].tolist() == [1, 2, 0]


def test_what_is_done_need_not_be_covered():
    features, of = clusters([4, 12, 7])
    done = features[of == 1][:1]
    assert of[cover(features, done, np.ones(23), 2)].tolist() == [2, 0]


def test_doubt_weighs_what_is_covered():
    features, of = clusters([4, 12, 7])
    weights = np.where(of == 0, 1.0, 0.1)
    assert of[cover(features, np.zeros((0, 2)), weights, 1)].tolist() == [0]


def test_a_single_image_and_equal_ones_are_covered():
    assert cover(np.ones((1, 3), np.float32), np.zeros((0, 3)), np.ones(1), 5) == [0]
    assert sorted(cover(np.ones((3, 3), np.float32), np.ones((1, 3)), np.ones(3), 5)) == [0, 1, 2]


def test_a_choice_is_among_so_many():
    cases = [case_of(number) for number in range(CANDIDATES + 50)]
    features = {case.case_id: np.zeros(2, np.float32) for case in cases}
    last = ids(ORDERS["random"](cases, Known()))[-1]
    features[last] = np.full(2, 100, np.float32)  # the oddest, but beyond those that are weighed
    assert last not in ids(ORDERS["diverse"](cases, Known(features)))[:10]
