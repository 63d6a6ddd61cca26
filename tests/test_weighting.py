"""The balance of the levels: the published numbers, and independence of the batch."""

import pytest
import torch

from meddistill.distillation.weighting import FixedWeighting, PaperWeighting, paper_weights


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
