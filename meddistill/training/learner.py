"""What learns: student, adapters, weighting and heads, in Fabric's wrapping, and their optimiser."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from meddistill.settings.distill import DistillConfig
from meddistill.student.networks.student_network import StudentNetwork
from meddistill.training.adapters import FeatureAdapters
from meddistill.training.optimizer import build_optimizer
from meddistill.training.packed_cases import PackedCases
from meddistill.training.step import DistillModel
from meddistill.training.weighting.known_weightings import build_weighting


@dataclasses.dataclass(frozen=True)
class Learner:
    """`network`: all that learns, as a module; `model`: the same in Fabric's wrapping, which steps
    call."""

    network: DistillModel
    model: Any
    optimizer: torch.optim.Optimizer
    device: torch.device


def uses_features(train: PackedCases, settings: DistillConfig) -> bool:
    """Whether the feature level is on: by the settings, and with maps to learn from."""
    return bool(settings.feature_weight and settings.feature_share and train.feature_shapes)


def build_learner(
    student: StudentNetwork,
    train: PackedCases,
    settings: DistillConfig,
    fabric: Fabric,
    seed: int,
) -> Learner:
    """Put together what learns `train`, on Fabric's device.

    Args:
        student: the network that is kept.
        train: its cases; their feature maps give the adapters' shapes, their doubts the weighting's
            scale.
        settings: losses and optimiser.
        fabric: where it is trained.
        seed: of what is not the student.
    """
    # Adapters start from their own seed: switching features on does not move the student's start.
    torch.manual_seed(seed + 1)
    adapters = _build_adapters(student, train) if uses_features(train, settings) else None
    weighting = build_weighting(
        settings.weighting,
        mask=settings.mask_weight,
        probability=settings.probability_weight,
        feature=settings.feature_weight if adapters else 0.0,
        training_doubt=train.doubt[train.known > 0],
    )
    network = DistillModel(student, adapters, weighting, settings.deep_supervision)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(network, settings)
    model, _ = fabric.setup(network, optimizer)
    return Learner(network, model, optimizer, fabric.device)


@torch.no_grad()
def _build_adapters(student: StudentNetwork, train: PackedCases) -> FeatureAdapters:
    student.eval()
    maps = student.features(torch.zeros(1, student.in_channels, *[train.image_size] * 2))
    shapes = [(int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in maps]
    return FeatureAdapters(shapes, train.feature_shapes)
