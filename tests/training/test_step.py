"""The losses of one step, case by case: what is masked, weighted, scaled; and the average that is
kept of training."""

import copy

import pytest
import torch
from support.training_data import SIZE, bright_squares, settings
from torch import nn

from meddistill.data.frames import Preprocessing
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.training.averaging import MovingAverage
from meddistill.training.step import DistillModel, Seen, distill_step
from meddistill.training.weighting.known_weightings import build_weighting

CACHED = torch.tensor([True, False, True])


def losses(cached=CACHED, case_weight=(1.0, 1.0, 1.0), **changes):
    torch.manual_seed(0)
    config = settings(**changes)
    cases = bright_squares(3, 1)
    cases.case_weight = torch.tensor(case_weight)[:, None]
    maps = {"embedding": torch.randn(3, 6, 8, 8)}
    weighting = build_weighting(
        "fixed",
        mask=config.mask_weight,
        probability=config.probability_weight,
        feature=config.feature_weight,
        training_doubt=cases.doubt[:, 0],
    )

    def model(frames):
        return Seen(frames.mean(1, keepdim=True), maps, [])

    return distill_step(
        model, weighting, cases.batch(torch.arange(3)), cached, Preprocessing(SIZE), config
    )


def test_features_and_priors_count_for_cached_views_alone():
    found = losses(prior_weight=0.5)
    everywhere = losses(cached=torch.tensor([True, True, True]), prior_weight=0.5)
    for term in ("feature", "prior"):
        value, whole = getattr(found, term), getattr(everywhere, term)
        assert value[1] == 0 < whole[1]
        assert torch.equal(value[[0, 2]], whole[[0, 2]])
    assert found.cached.tolist() == [1, 0, 1]


def test_the_total_is_the_weighted_sum_of_its_terms():
    weights = {
        "mask_weight": 0.7,
        "dice_weight": 0.6,
        "probability_weight": 0.4,
        "feature_weight": 0.3,
    }
    found = losses(prior_weight=0.2, feature_share=0.5, **weights)
    expected = 0.7 * (found.cross_entropy + 0.6 * found.dice) + 0.4 * found.probability
    # Cached views stand for all views, of which they are the share 0.5.
    expected = expected + (0.3 * found.feature + 0.2 * found.prior) / 0.5
    assert found.total.tolist() == pytest.approx(expected.tolist())


def test_a_case_weighs_what_its_target_is_trusted():
    plain, weighed = losses(), losses(case_weight=(0.5, 0.0, 2.0))
    assert weighed.total.tolist() == pytest.approx(
        (plain.total * torch.tensor([0.5, 0.0, 2.0])).tolist()
    )
    assert torch.equal(
        weighed.cross_entropy, plain.cross_entropy
    )  # terms are logged before their weights


def test_hard_targets_are_the_masks_of_the_soft_ones():
    torch.manual_seed(0)
    cases = bright_squares(1, 1)
    batch = cases.batch(torch.arange(1))
    soft, hard = copy.copy(batch), copy.copy(batch)
    object.__setattr__(soft, "probs", torch.where(batch.probs > 0, 0.5, 0.49))
    object.__setattr__(hard, "probs", batch.probs)
    weighting = build_weighting(
        "fixed", mask=1.0, probability=1.0, feature=0.0, training_doubt=cases.doubt[:, 0]
    )

    def total(batch, hard_targets):
        config = settings(hard_targets=hard_targets, feature_weight=0.0)

        def model(frames):
            return Seen(frames.mean(1, keepdim=True), {}, [])

        return distill_step(model, weighting, batch, CACHED[:1], Preprocessing(SIZE), config).total

    assert torch.equal(total(soft, True), total(hard, False))
    assert not torch.equal(total(soft, False), total(hard, False))


def test_deep_supervision_judges_every_nested_network_by_the_mean():
    torch.manual_seed(0)
    cases = bright_squares(2, 1)
    weighting = build_weighting(
        "fixed", mask=1.0, probability=1.0, feature=0.0, training_doubt=cases.doubt[:, 0]
    )
    config = settings(feature_weight=0.0)

    def losses_of(*heads):
        seen = Seen(heads[0], {}, list(heads[1:]))
        return distill_step(
            lambda _: seen,
            weighting,
            cases.batch(torch.arange(2)),
            CACHED[:2],
            Preprocessing(SIZE),
            config,
        )

    heads = [torch.randn(2, 1, SIZE, SIZE) for _ in range(3)]
    alone, together = [losses_of(head) for head in heads], losses_of(*heads)
    for term in ("cross_entropy", "dice"):
        mean = torch.stack([getattr(each, term) for each in alone]).mean(0)
        torch.testing.assert_close(getattr(together, term), mean)
    assert torch.equal(together.probability, alone[0].probability)  # of the student's own mask


def test_deep_heads_train_beside_the_student_and_are_not_part_of_it():
    student = NestedUNet([4, 6, 8, 10])
    weighting = build_weighting(
        "fixed", mask=1.0, probability=0.0, feature=0.0, training_doubt=torch.zeros(2)
    )
    frames = torch.rand(2, 3, 16, 16)
    assert DistillModel(student, None, weighting)(frames).deeper == []
    model = DistillModel(student, None, weighting, deep_supervision=True)
    seen = model(frames)
    assert [each.shape for each in seen.deeper] == [(2, 1, 16, 16)] * 2
    sum(each.mean() for each in (seen.logits, *seen.deeper)).backward()
    assert all(parameter.grad is not None for parameter in model.deep_heads.parameters())
    assert not any("deep" in name for name in student.saved_state())


def test_the_average_moves_by_one_minus_the_decay_and_faster_at_first():
    network = nn.BatchNorm1d(1)
    average = MovingAverage(network, decay=0.9)
    assert not average.module.training
    value = 1.0  # of the average; BatchNorm starts at weight 1
    for step in range(120):
        with torch.no_grad():
            network.weight.fill_(step)
            network.running_mean.fill_(step)
            network.num_batches_tracked.fill_(step)
        average.update(network)
        decay = min(0.9, (1 + step) / (10 + step))
        value = decay * value + (1 - decay) * step
        assert float(average.module.weight) == pytest.approx(value, rel=1e-4)
    assert decay == 0.9
    assert float(average.module.running_mean) == pytest.approx(
        value, rel=1e-3
    )  # 0 instead of 1 at the start
    assert int(average.module.num_batches_tracked) == 119  # a count is copied, not averaged


def test_without_decay_the_average_is_the_network_itself():
    network = nn.Linear(2, 1)
    average = MovingAverage(network, decay=0.0)
    with torch.no_grad():
        network.weight.fill_(3.0)
    average.update(network)
    assert torch.equal(average.module.weight, network.weight)
