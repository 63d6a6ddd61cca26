"""The paper's network: its size, its shape, and that its parts hang together."""

import pytest
import torch

from meddistill.student.networks.nested_unet import NestedUNet


def test_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in NestedUNet().parameters()) == 9_163_329


def test_gives_one_logit_a_pixel_and_the_encoder_maps():
    network = NestedUNet([4, 6, 8, 10, 12]).eval()
    logits, maps = network.forward_with_features(torch.rand(2, 3, 32, 48))
    assert logits.shape == (2, 1, 32, 48)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (4, 32, 48),
        (6, 16, 24),
        (8, 8, 12),
        (10, 4, 6),
        (12, 2, 3),
    ]
    assert network.feature_channels == [4, 6, 8, 10, 12]


def test_features_alone_are_those_of_the_whole_pass():
    network = NestedUNet([4, 6, 8]).eval()
    frames = torch.rand(1, 3, 16, 16)
    for alone, together in zip(
        network.features(frames), network.forward_with_features(frames)[1], strict=True
    ):
        torch.testing.assert_close(alone, together)


def test_every_parameter_gets_a_gradient():
    network = NestedUNet([4, 6, 8])
    network(torch.rand(2, 3, 16, 16)).square().mean().backward()
    # A bias before a batch norm has none by construction, but it is still part of the graph.
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_refuses_a_frame_that_does_not_halve():
    with pytest.raises(ValueError, match="multiples of 16, got \\(24, 40\\)"):
        NestedUNet([4] * 5)(torch.rand(1, 3, 24, 40))


def test_logits_stay_float32_under_autocast():
    network = NestedUNet([4, 6]).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(torch.rand(1, 3, 8, 8)).dtype == torch.float32
