"""Pixels and cases that count for less than others, and draws of them that can be taken up."""

import numpy as np
import pytest
import torch

from meddistill.training.augment import Augmentation
from meddistill.training.batches import SharedDraws
from meddistill.training.packed_cases import CaseTarget, PackedCases

SIDE = 16


def packed(names, *, pixel_weight=None, weight=1.0, bright=200, probs=1.0):
    cases = PackedCases(names, SIDE)
    for index in range(len(names)):
        image = np.full((SIDE, SIDE, 3), bright + index, np.uint8)
        target = np.full((SIDE, SIDE), probs, np.float32)
        cases.put(
            index, image, CaseTarget(target, 0 * target, weight=weight, pixel_weight=pixel_weight)
        )
    return cases


def half():
    return np.full((SIDE, SIDE), 0.5, np.float32)


def test_without_pixel_weights_a_batch_has_none():
    assert packed(["a"]).batch(torch.tensor([0])).pixel_weight is None


def test_one_weighted_case_leaves_the_others_at_full_weight():
    cases = packed(["a", "b"])
    ones = np.ones((SIDE, SIDE), np.float32)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    cases.put(1, image, CaseTarget(ones, 0 * ones, pixel_weight=half()))
    weight = cases.batch(torch.tensor([0, 1])).pixel_weight
    assert weight.amin((1, 2, 3)).tolist() == pytest.approx([1.0, 0.5], abs=1 / 255)


def test_joining_rescales_no_weight():
    boxed, believed = packed(["a"], weight=2.0), packed(["b", "c"], weight=0.5)
    assert PackedCases.joined(boxed, believed).case_weight[:, 0].tolist() == [2.0, 0.5, 0.5]


def test_weighted_boxed_cases_keep_their_pixel_weights():
    joined = PackedCases.joined(packed(["a"], pixel_weight=half()), packed(["b"]))
    weight = joined.batch(torch.tensor([0, 1])).pixel_weight
    assert weight.amax((1, 2, 3)).tolist() == pytest.approx([0.5, 1.0], abs=1 / 255)


def test_a_joined_set_knows_its_lesions_and_its_share():
    joined = PackedCases.joined(packed(["a"], probs=0.0), packed(["b"]))
    assert joined.with_lesion().tolist() == [1]
    assert joined.foreground_share() == pytest.approx(0.5)


def test_features_and_box_priors_are_left_out():
    boxed = PackedCases(["a"], SIDE, {"embedding": (2, 4, 4)}, max_boxes=1)
    joined = PackedCases.joined(boxed, packed(["b"]))
    batch = joined.batch(torch.tensor([0, 1]))
    assert batch.features == {}
    assert batch.boxes_xyxy_px.shape == (2, 0, 4)


@pytest.fixture
def joined():
    names = [f"u{i}" for i in range(7)]
    return PackedCases.joined(packed(["a", "b", "c"]), packed(names, pixel_weight=half()))


def source(cases):
    augment = Augmentation(SIDE, 0, is_grey=True)
    return SharedDraws(cases, 5, (1, 3), 0, augment)


def test_an_epoch_taken_up_in_its_middle_sees_what_the_whole_one_saw(joined):
    whole = source(joined)
    batches = [whole.batch(draw) for epoch in (0, 1) for draw in whole.draws(epoch)]
    again = source(joined)
    rest = [again.batch(draw) for draw in list(again.draws(1))[3:]]
    assert len(rest) == 2
    for batch, expected in zip(rest, batches[8:], strict=True):
        assert torch.equal(batch.index, expected.index)
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.pixel_weight, expected.pixel_weight)


def test_ranks_share_a_step_between_them(joined):
    for draw in source(joined).draws(0):
        parts = [draw.of_rank(rank, 2).index for rank in (0, 1)]
        assert sorted(torch.cat(parts).tolist()) == sorted(draw.index.tolist())
