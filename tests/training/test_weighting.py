"""The balance of the levels: the published numbers, and independence of the batch."""

import pytest
import torch

from meddistill.base.errors import ConfigError
from meddistill.settings.distill import DistillConfig
from meddistill.training.weighting.fixed import FixedWeighting
from meddistill.training.weighting.known_weightings import WEIGHTINGS, build_weighting
from meddistill.training.weighting.learned import LearnedWeighting
from meddistill.training.weighting.paper import PaperWeighting, paper_weights
from meddistill.training.weighting.ulwr import UlwrWeighting


def test_the_published_weights_at_one_percent():
    weights = paper_weights(torch.tensor([0.01]))
    assert [round(level.item(), 4) for level in weights] == [0.9888, 0.0072, 0.0040]


def test_published_weights_are_per_case_and_sum_to_one():
    v = torch.tensor([0.0, 0.01, 0.2])
    together = torch.stack(list(paper_weights(v)))
    alone = torch.cat([torch.stack(list(paper_weights(value[None]))) for value in v], dim=1)
    assert torch.equal(together, alone)
    assert together.sum(0).tolist() == pytest.approx([1, 1, 1])
    assert together[0].tolist() == sorted(together[0].tolist(), reverse=True)


def test_paper_weighting_leaves_a_level_off():
    weights = PaperWeighting(1.0, 1.0, 0.0)(torch.tensor([0.01]), torch.tensor([0.0]))
    assert weights.feature.item() == 0
    assert weights.mask.item() == pytest.approx(0.9888, abs=1e-4)


def test_fixed_weighting_is_the_settings_for_every_case():
    weights = FixedWeighting(1.0, 0.1, 0.3)(torch.tensor([0.01, 0.2]), torch.tensor([0.0, 5.0]))
    assert weights.mask.tolist() == [1, 1]
    assert weights.feature.tolist() == pytest.approx([0.3, 0.3])


def weights_of(weighting, *doubts):
    return weighting(torch.zeros(len(doubts)), torch.tensor(doubts))


def test_ulwr_moves_weight_from_masks_in_doubt_to_their_features():
    doubts = [0.1, 0.2, 0.3, 0.9]
    weighting = UlwrWeighting(1.0, 0.1, 0.5, torch.tensor(doubts))
    weights = weights_of(weighting, *doubts)
    assert weights.mask.tolist() == sorted(weights.mask.tolist(), reverse=True)
    assert weights.feature.tolist() == sorted(weights.feature.tolist())
    # Over the training targets nothing is created or lost.
    assert weights.mask.mean().item() == pytest.approx(1.0)
    assert weights.probability.mean().item() == pytest.approx(0.1)
    assert weights.feature.mean().item() == pytest.approx(0.5)


def test_ulwr_is_bounded():
    weighting = UlwrWeighting(1.0, 0.1, 0.5, torch.tensor([0.1, 0.11, 0.12]))
    far = weights_of(weighting, 0.0, 1.0)
    assert (far.mask[0] / far.mask[1]).item() == pytest.approx(16)
    assert torch.isfinite(torch.stack(list(far))).all()


@pytest.mark.parametrize("training", [[0.3, 0.3, 0.3], [0.2], []])
def test_ulwr_is_fixed_where_all_cases_are_equally_sure(training):
    ulwr = weights_of(UlwrWeighting(1.0, 0.1, 0.5, torch.tensor(training)), 0.3, 0.3)
    fixed = weights_of(FixedWeighting(1.0, 0.1, 0.5), 0.3, 0.3)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(ulwr, fixed, strict=True))


def test_ulwr_does_not_depend_on_the_batch():
    weighting = UlwrWeighting(1.0, 0.1, 0.5, torch.tensor([0.1, 0.5, 0.7]))
    together = weights_of(weighting, 0.1, 0.7).mask
    assert together.tolist() == [
        weights_of(weighting, 0.1).mask.item(),
        weights_of(weighting, 0.7).mask.item(),
    ]


def test_learned_weights_start_as_fixed_and_stay_bounded():
    weighting = LearnedWeighting(1.0, 0.1, 0.0)
    start = weights_of(weighting, 0.5)
    assert [level.item() for level in start[:3]] == pytest.approx([1.0, 0.1, 0.0])
    assert start.penalty.item() == pytest.approx(2 * 0.693147, abs=1e-5)  # the feature level is off
    with torch.no_grad():
        weighting.log_variances.fill_(50.0)
    assert weights_of(weighting, 0.5).mask.item() == pytest.approx(0.049787, abs=1e-5)
    assert weights_of(weighting, 0.5).penalty.item() > 0


def test_an_unknown_weighting_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'learned'"):
        build_weighting(
            "learnt", mask=1.0, probability=0.1, feature=0.1, training_doubt=torch.zeros(1)
        )


def test_settings_take_the_weightings_that_there_are():
    for name in WEIGHTINGS:
        assert DistillConfig(weighting=name).weighting == name
    with pytest.raises(ConfigError, match=", ".join(WEIGHTINGS)):
        DistillConfig(weighting="none such")
