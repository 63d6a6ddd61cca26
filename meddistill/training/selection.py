"""Choosing without masks: how well a student agrees with the targets of the validation cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from meddistill.base.errors import A_NEW_STUDENT, TrainingError, is_out_of_memory
from meddistill.data.frames import Preprocessing, normalise
from meddistill.teachers.teacher import give_back_freed_memory
from meddistill.training.fabric import sum_over_ranks, widest_float
from meddistill.training.losses import soft_dice_agreement
from meddistill.training.packed_cases import PackedCases

BATCH = 16
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))


def validation_agreement(
    student: nn.Module, val: PackedCases, preprocessing: Preprocessing, fabric: Fabric
) -> float | None:
    """Mean soft Dice of the student with the targets, of several findings the mean of theirs, each
    over the known cases that show it or none; None without validation cases. Each rank judges its
    share.

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
        agreement, counts = _agreement(probs, target, known)
        sums += torch.stack([(agreement * counts).sum(0), counts.sum(0)])
    total, cases = sum_over_ranks(fabric, sums)
    return float((total / cases)[cases > 0].mean())


def _agreement(probs: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Soft Dice of each finding's maps, and where it counts: both (B, C), of maps (B, C, S, S).

    A finding counts in the cases that show it, and in those that show none at all. Elsewhere it would
    be right by being silent, and of three kinds that exclude each other two thirds of all cases would
    praise a student that sees nothing. What it sees there is held against the finding that is shown.
    """
    shown, mass = _shown(target), probs.flatten(2).sum(2) + target.flatten(2).sum(2)
    wrongly = (torch.where(shown, 0, probs.flatten(2).sum(2)) * known).sum(1, keepdim=True)
    wrongly = wrongly * shown.any(1, keepdim=True)
    maps = (each.flatten(0, 1)[:, None] for each in (probs, target))
    alone = soft_dice_agreement(*maps).view(shown.shape)
    # The share of the mass that agrees, of all mass.
    agreement = alone * mass / (mass + wrongly).clamp(min=1e-12)
    agreement = torch.where(wrongly > 0, agreement, alone)
    return agreement, known * (shown | ~shown.any(1, keepdim=True))


def _shown(target: Tensor) -> Tensor:
    """Which findings (B, C) targets (B, C, S, S) show: a pixel at least."""
    return target.flatten(2).sum(2) >= 1


def choose_thresholds(
    student: nn.Module, val: PackedCases, preprocessing: Preprocessing, fabric: Fabric
) -> list[float]:
    """Of each finding the threshold whose masks agree best (mean Dice in the frame) with the targets' masks, from
    0.1 to 0.9.

    Of equally good ones the nearest to 0.5; 0.5 without validation cases, and where what is gained over
    it is less than the standard error of that. Two empty masks agree
    fully; a mask of a finding in a case that shows others instead agrees by the share that it has
    not of its own and their pixels.

    Args:
        student: in eval mode.
        val: the validation cases.
        preprocessing: of their images.
        fabric: where it is computed, by which ranks.
    """
    if not len(val):
        return [0.5] * val.findings
    shape = (2, len(THRESHOLDS), val.findings)
    sums = torch.zeros(shape, dtype=widest_float(fabric.device), device=fabric.device)
    for probs, target, known in _predictions(student, val, preprocessing, fabric):
        theirs = (target >= 0.5).float()
        right = torch.stack([_rightness((probs >= t).float(), theirs) for t in THRESHOLDS])
        gains = (right - right[THRESHOLDS.index(0.5)]) * known
        sums += torch.stack([gains.sum(1), gains.square().sum(1)])
    cases = val.known.sum(0).to(fabric.device)
    total, squares = sum_over_ranks(fabric, sums)
    means = total / cases.clamp(min=1)
    spread = (squares - cases * means.square()).clamp(min=0) / (cases - 1).clamp(min=1)
    errors = (spread / cases.clamp(min=1)).sqrt()
    return [
        threshold_of(of_one, error) if count > 1 else 0.5
        for of_one, error, count in zip(
            means.T.tolist(), errors.T.tolist(), cases.tolist(), strict=True
        )
    ]


def _rightness(masks: Tensor, theirs: Tensor) -> Tensor:
    """(B, C) in [0, 1] of masks (B, C, S, S), 0 or 1, and those of the targets."""
    pairs = (each.flatten(0, 1)[:, None] for each in (masks, theirs))
    alone = soft_dice_agreement(*pairs).view(masks.shape[:2])
    area, others = masks.flatten(2).sum(2), theirs.flatten(1).sum(1, keepdim=True)
    elsewhere = others / (area + others).clamp(min=1)
    return torch.where(_shown(theirs) | (others < 1), alone, elsewhere)


def threshold_of(gains: Sequence[float], errors: Sequence[float]) -> float:
    """The best of `THRESHOLDS` by the mean gain of each over 0.5, with its standard error: 0.5 where the
    gain is less than that, as of a few cases another one is praised by chance."""
    gain, threshold, error = max(
        zip(gains, THRESHOLDS, errors, strict=True),
        key=lambda each: (round(each[0], 6), -abs(each[1] - 0.5)),
    )
    # A case that gains where all others are the same either way has an error as large as its gain.
    return threshold if gain > 0 and gain >= error * (1 - 1e-6) else 0.5


@torch.no_grad()
def predict_probs(
    student: nn.Module, images: Tensor, preprocessing: Preprocessing, fabric: Fabric
) -> Tensor:
    """Probabilities (B, C, S, S) float32 of RGB frames (B, 3, S, S) in [0, 255]; a student in eval
    mode is expected. Where memory runs out, the two halves one after the other.

    Raises: TrainingError where a single frame does not fit.

    Args:
        student: the network.
        images: the frames.
        preprocessing: their normalisation.
        fabric: precision and device.
    """
    try:
        frames = normalise(images, preprocessing).contiguous(memory_format=torch.channels_last)
        with fabric.autocast():
            logits: Tensor = student(frames)
        return torch.sigmoid(logits.float())
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Here the error is forgotten, and with it what was made meanwhile.
    if len(images) == 1:
        raise TrainingError(
            "out of memory while the student looks at one image; pass --device cpu, lower "
            f"distill.image_size (now {preprocessing.image_size}) or choose a smaller distill.encoder, "
            f"{A_NEW_STUDENT}"
        )
    give_back_freed_memory()
    halves = images.tensor_split(2)
    return torch.cat([predict_probs(student, half, preprocessing, fabric) for half in halves])


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
