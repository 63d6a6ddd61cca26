"""Choosing without masks: how well a student agrees with the targets of the validation cases."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from meddistill.data.frames import Preprocessing, normalise
from meddistill.training.fabric import sum_over_ranks
from meddistill.training.losses import soft_dice_agreement
from meddistill.training.packed_cases import PackedCases

BATCH = 16
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))


def validation_agreement(
    student: nn.Module, val: PackedCases, preprocessing: Preprocessing, fabric: Fabric
) -> float | None:
    """Mean soft Dice of the student with the targets; None without validation cases. Each rank
    judges its share.

    Args:
        student: in eval mode.
        val: the validation cases.
        preprocessing: of their images.
        fabric: where it is computed, by which ranks.
    """
    if not len(val):
        return None
    total = torch.zeros((), dtype=torch.float64, device=fabric.device)
    for probs, target in _predictions(student, val, preprocessing, fabric):
        total += soft_dice_agreement(probs, target).sum()
    return float(sum_over_ranks(fabric, total)) / len(val)


def choose_threshold(
    student: nn.Module, val: PackedCases, preprocessing: Preprocessing, fabric: Fabric
) -> float:
    """The threshold whose masks agree best (mean Dice in the frame) with the targets' masks, from
    0.1 to 0.9.

    Of equally good ones the nearest to 0.5; 0.5 without validation cases. Two empty masks agree
    fully.

    Args:
        student: in eval mode.
        val: the validation cases.
        preprocessing: of their images.
        fabric: where it is computed, by which ranks.
    """
    if not len(val):
        return 0.5
    sums = torch.zeros(len(THRESHOLDS), dtype=torch.float64, device=fabric.device)
    for probs, target in _predictions(student, val, preprocessing, fabric):
        theirs = (target >= 0.5).float()
        sums += torch.stack(
            [soft_dice_agreement((probs >= t).float(), theirs).sum() for t in THRESHOLDS]
        )
    means = (sum_over_ranks(fabric, sums) / len(val)).tolist()
    return max(
        zip(means, THRESHOLDS, strict=True),
        key=lambda pair: (round(pair[0], 6), -abs(pair[1] - 0.5)),
    )[1]


@torch.no_grad()
def predict_probs(
    student: nn.Module, images: Tensor, preprocessing: Preprocessing, fabric: Fabric
) -> Tensor:
    """Probabilities (B, 1, S, S) float32 of RGB frames (B, 3, S, S) in [0, 255]; a student in eval
    mode is expected.

    Args:
        student: the network.
        images: the frames.
        preprocessing: their normalisation.
        fabric: precision and device.
    """
    frames = normalise(images, preprocessing).contiguous(memory_format=torch.channels_last)
    with fabric.autocast():
        logits: Tensor = student(frames)
    return torch.sigmoid(logits.float())


def _predictions(
    student: nn.Module, val: PackedCases, preprocessing: Preprocessing, fabric: Fabric
) -> Iterator[tuple[Tensor, Tensor]]:
    """Probabilities and targets, (B, 1, S, S) each, of this rank's validation cases."""
    mine = torch.arange(len(val))[fabric.global_rank :: fabric.world_size]
    for start in range(0, len(mine), BATCH):
        batch = val.batch(mine[start : start + BATCH])
        yield predict_probs(student, batch.images, preprocessing, fabric), batch.probs
