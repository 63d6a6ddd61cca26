"""The student's maps on the teacher's grid, on devices that lack a part of torch, too."""

import pytest
import torch
import torch.nn.functional as F

from meddistill.training import adapters


@pytest.mark.parametrize(
    ("device", "size", "lacks"),
    [("mps", (20, 20), True), ("mps", (16, 32), False), ("cpu", (20, 20), False)],
)
def test_only_apples_gpu_lacks_pooling_of_sizes_that_do_not_divide(device, size, lacks):
    assert adapters._mps_lacks_pooling(torch.device(device), size, (8, 8)) is lacks


def test_a_way_round_gives_the_same_values_and_gradients(monkeypatch):
    maps = torch.randn(2, 3, 20, 20, requires_grad=True)
    plain = F.adaptive_avg_pool2d(maps, (8, 8))
    monkeypatch.setattr(adapters, "_mps_lacks_pooling", lambda *_: True)
    round_about = adapters._to_grid(maps, (8, 8))
    assert torch.equal(plain, round_about)
    gradients = [torch.autograd.grad(each.square().sum(), maps)[0] for each in (plain, round_about)]
    assert torch.equal(*gradients)
