"""Boxed and believed cases in fixed shares, however many there are of each."""

from collections import Counter

import numpy as np
import pytest
import torch

from meddistill.training.augment import Augmentation
from meddistill.training.batches import SharedDraws
from meddistill.training.packed_cases import CaseTarget, PackedCases

SIZE = 16


def packed(names, value, weight=1.0, pixel_weight=None):
    cases = PackedCases(names, SIZE)
    for index in range(len(names)):
        image = np.full((SIZE, SIZE, 3), value, np.uint8)
        probs = np.full((SIZE, SIZE), value / 255, np.float32)
        target = CaseTarget(probs, 0 * probs, weight=weight, pixel_weight=pixel_weight)
        cases.put(index, image, target)
    return cases


@pytest.fixture
def joined():
    half = np.full((SIZE, SIZE), 0.4, np.float32)
    boxed = packed(["a", "b", "c"], 200)
    return PackedCases.joined(boxed, packed(list("defghij"), 51, 0.5, half))


def test_joined_cases_keep_their_order_images_targets_and_weights(joined):
    assert joined.case_ids == list("abcdefghij")
    assert (joined.boxed, len(joined), joined.is_grey) == (3, 10, True)
    batch = joined.batch(torch.tensor([0, 9]))
    assert batch.images[:, 0, 0, 0].tolist() == [200, 51]
    assert batch.probs[:, 0, 0, 0].tolist() == pytest.approx([200 / 255, 0.2])
    assert batch.case_weight[:, 0].tolist() == [1.0, 0.5]
    assert batch.pixel_weight[:, 0, 0, 0].tolist() == pytest.approx([1.0, 0.4])


def test_every_step_has_its_shares(joined):
    source = SharedDraws(joined, 5, (2, 6), seed=0)
    draws = list(source.draws(0))
    assert len(draws) == 5
    assert source.cases_per_epoch == 40
    for draw in draws:
        assert ((draw.index < 3).sum(), (draw.index >= 3).sum()) == (2, 6)
        assert not draw.cached_view.any()


def test_all_of_a_kind_are_drawn_before_any_comes_again(joined):
    source = SharedDraws(joined, 5, (2, 6), seed=0)
    drawn = [int(i) for epoch in range(4) for draw in source.draws(epoch) for i in draw.index]
    for kind in ([i for i in drawn if i < 3], [i for i in drawn if i >= 3]):
        count = len(set(kind))
        for start in range(0, len(kind) - count, count):
            assert max(Counter(kind[start : start + count]).values()) == 1


def test_the_same_seed_gives_the_same_draws_and_another_does_not(joined):
    def order(seed):
        return [draw.index.tolist() for draw in SharedDraws(joined, 5, (2, 6), seed).draws(3)]

    assert order(0) == order(0) != order(1)


def test_boxed_cases_alone():
    source = SharedDraws(packed(["a", "b", "c"], 9), 2, (4, 0), seed=0)
    assert [len(draw) for draw in source.draws(0)] == [4, 4]


def test_views_move_the_weights_with_the_target(joined):
    augment = Augmentation(SIZE, 0, is_grey=True)
    source = SharedDraws(joined, 2, (2, 2), 0, augment)
    draw = next(iter(source.draws(0)))
    batch = source.batch(draw)
    believed = draw.index >= 3
    inside = batch.probs[believed] > 0.19
    assert batch.pixel_weight[believed][inside].max() <= 0.401
    # What is moved in from outside the frame is known of nothing.
    assert batch.pixel_weight[believed].min() < 0.4


def test_a_case_that_comes_round_again_is_seen_anew_each_time(joined):
    source = SharedDraws(joined, 6, (2, 2), 0, Augmentation(SIZE, 0, is_grey=True))
    draws = list(source.draws(0))
    views = [
        tuple(row.tolist())
        for draw in draws
        for place, row in zip(draw.index, draw.numbers, strict=True)
        if place == 1
    ]
    assert len(views) == len(set(views)) == 4  # four turns of three boxed cases in six steps
    # Boxed and believed cases of one turn have views of their own, too.
    rows = torch.cat([draw.numbers for draw in draws])
    assert len(rows.unique(dim=0)) == len(rows)
