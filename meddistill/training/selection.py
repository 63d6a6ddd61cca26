"""Choosing without masks: how well a student agrees with the targets of the validation cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from meddistill.data.frames import Preprocessing, normalise
from meddistill.training.fabric import sum_over_ranks, widest_float
from meddistill.training.losses import soft_dice_agreement
from meddistill.training.packed_cases import PackedCases

BATCH = 16
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))


def validation_agreement(
    student: nn.Module, val: PackedCases, preprocessing: Preprocessing, fabric: Fabric
) -> float | None:
    """Mean soft Dice of the student with the targets, of several findings the mean of theirs over
    the cases in which they are known; None without validation cases. Each rank judges its share.

    Args:
        student: in eval mode.
        val: the validation cases.
        preprocessing: of their images.
        fabric: where it is computed, by which ranks.
    """
    if not len(val):
        return None
    wide = widest_float(fabric.device)
    sums = torch.zeros(2, val.findings, dtype=wide, device=fabric.device)
    for probs, target, known in _predictions(student, val, preprocessing, fabric):
        sums += torch.stack([(_agreement(probs, target) * known).sum(0), known.sum(0)])
    total, cases = sum_over_ranks(fabric, sums)
    return float((total / cases)[cases > 0].mean())


def _agreement(probs: Tensor, target: Tensor) -> Tensor:
    """Soft Dice (B, C) of maps (B, C, S, S)."""
    maps = (each.flatten(0, 1)[:, None] for each in (probs, target))
    return soft_dice_agreement(*maps).view(probs.shape[:2])


def choose_thresholds(
    student: nn.Module, val: PackedCases, preprocessing: Preprocessing, fabric: Fabric
) -> list[float]:
    """Of each finding the threshold whose masks agree best (mean Dice in the frame) with the targets' masks, from
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
        return [0.5] * val.findings
    shape = (len(THRESHOLDS), val.findings)
    sums = torch.zeros(shape, dtype=widest_float(fabric.device), device=fabric.device)
    for probs, target, known in _predictions(student, val, preprocessing, fabric):
        theirs = (target >= 0.5).float()
        sums += torch.stack(
            [(_agreement((probs >= t).float(), theirs) * known).sum(0) for t in THRESHOLDS]
        )
    cases = val.known.sum(0).to(fabric.device).clamp(min=1)
    means = (sum_over_ranks(fabric, sums) / cases).T.tolist()
    return [_best(of_one) for of_one in means]


def _best(means: Sequence[float]) -> float:
    return max(
        zip(means, THRESHOLDS, strict=True),
        key=lambda pair: (round(pair[0], 6), -abs(pair[1] - 0.5)),
    )[1]


@torch.no_grad()
def predict_probs(
    student: nn.Module, images: Tensor, preprocessing: Preprocessing, fabric: Fabric
) -> Tensor:
    """Probabilities (B, C, S, S) float32 of RGB frames (B, 3, S, S) in [0, 255]; a student in eval
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
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Probabilities and targets, (B, C, S, S) each, of this rank's validation cases, both 0 at a pixel
    of which nothing is known, and which findings are known in them, (B, C)."""
    mine = torch.arange(len(val))[fabric.global_rank :: fabric.world_size]
    for start in range(0, len(mine), BATCH):
        batch = val.batch(mine[start : start + BATCH])
        probs = predict_probs(student, batch.images, preprocessing, fabric)
        target, counts = batch.probs, batch.pixel_weight
        if counts is not None:
            probs, target = probs * counts, target * counts
        yield probs, target, batch.known
