"""A small network on the frozen teacher's encoder maps that says, cell by cell, how likely it is
each finding.

It sees what the teacher sees: features of a large network that was trained on much more than the
boxed images. Seconds of training make a segmenter that hardly loses when the boxes are few: it
proposes, on images without a box, the box that the teacher is then asked about.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddistill.targets.feature_basis import pool_to_frame
from meddistill.teachers.teacher import DECODED_LEVEL, Encoded

GRID = 64
"""Side of the raster on the student's frame whose cells are judged."""
CELLS_A_CASE = 600
"""Cells drawn from a case for training; at most half of them with any finding."""
_LESION_FROM = 0.02
_WIDTHS = (128, 64)
_DROPOUT = 0.2
_BATCH_CELLS = 2048
_LR, _WEIGHT_DECAY, _DECAY = 2e-3, 5e-2, 0.99
_WARMUP_STEPS = 30
_LEAST_DEVIATION = 1e-3


class CellHead(nn.Module):
    """Features of cells (N, F) to logits (N, C), one a finding. `mean`, `deviation`: (F,) of the
    features that it learns from, so that a teacher's scale is not its business. `levels`: of the
    teacher's maps, whose channels one after the other are those features."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        mean: Tensor,
        deviation: Tensor,
        findings: int = 1,
        levels: Sequence[str] = (DECODED_LEVEL,),
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation.clamp(min=_LEAST_DEVIATION))
        channels = len(mean)
        layers: list[nn.Module] = []
        for width in _WIDTHS:
            layers += [nn.Linear(channels, width), nn.LayerNorm(width), nn.GELU()]
            layers += [nn.Dropout(_DROPOUT)]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Linear(channels, findings))

    def forward(self, cells: Tensor) -> Tensor:
        logits: Tensor = self.layers((cells - self.mean) / self.deviation)
        return logits


@dataclasses.dataclass(frozen=True)
class Cells:
    """Cells to learn from: `features` (N, F) float16, `share` (N, C) of each that is a finding in
    [0, 1], `weight` (N, C) that undoes the draw in part; 0 where nothing is known of a finding.
    `levels`: that the features are of."""

    features: Tensor
    share: Tensor
    weight: Tensor
    levels: Sequence[str] = (DECODED_LEVEL,)

    @staticmethod
    def join(parts: Sequence[Cells]) -> Cells:
        """All cells of `parts`, at least one, which are of the same levels."""
        return Cells(
            torch.cat([part.features for part in parts]),
            torch.cat([part.share for part in parts]),
            torch.cat([part.weight for part in parts]),
            parts[0].levels,
        )


class SomeCases:
    """Cells of at most `limit` cases of those that are added, each as likely to be kept as any other
    (Vitter, "Random sampling with a reservoir", 1985): more than a head's steps can draw would only
    fill the memory."""

    def __init__(self, limit: int, seed: int) -> None:
        self.limit = limit
        self.kept: list[Cells] = []
        self._added = 0
        self._generator = torch.Generator().manual_seed(seed)

    def add(self, cells: Cells) -> None:
        self._added += 1
        if len(self.kept) < self.limit:
            self.kept.append(cells)
            return
        place = int(torch.randint(self._added, (1,), generator=self._generator))
        if place < self.limit:
            self.kept[place] = cells


def raster(
    encoded: Encoded, frame_size: int, levels: Sequence[str] = (DECODED_LEVEL,)
) -> tuple[Tensor, Tensor]:
    """Features of one encoded image on the frame's raster, (GRID, GRID, F) float32, those of all
    `levels`, and which cells see the image, bool (GRID, GRID)."""
    pooled = [pool_to_frame(encoded, level, 0, frame_size, GRID) for level in levels]
    return torch.cat([maps for maps, _ in pooled]).permute(1, 2, 0), pooled[0][1]


def draw_cells(
    encoded: Encoded,
    target_probs: Tensor,
    generator: torch.Generator,
    weights: Sequence[float] = (1.0,),
) -> Cells:
    """Cells of one case, of all levels that its encoding holds, half of them (where there are so
    many) with a finding, shared by the findings that are known.

    An empty target gives cells without a finding alone.

    Args:
        encoded: the case's image, a batch of one.
        target_probs: (C, S, S) float32 in [0, 1], its soft masks in the student's frame.
        generator: draws the cells.
        weights: of each finding of the case in the head's loss; 0: nothing is known of it.
    """
    levels = tuple(encoded.features)
    features, inside = raster(encoded, target_probs.shape[-1], levels)
    share = F.adaptive_avg_pool2d(target_probs, GRID).flatten(1)
    of_case = torch.tensor(weights, dtype=torch.float32)
    known = of_case > 0
    shows = (share > _LESION_FROM) & known[:, None]
    most = CELLS_A_CASE // 2 // max(1, int(known.sum()))
    kinds = [(each, most) for each in shows[known]] + [(~shows.any(0), CELLS_A_CASE)]
    chosen: list[Tensor] = []
    undone: list[Tensor] = []
    for kind, limit in kinds:
        places = (kind & inside.flatten()).nonzero()[:, 0]
        count = min(limit, CELLS_A_CASE - sum(map(len, chosen)))
        taken = places[torch.randperm(len(places), generator=generator)[:count]]
        chosen.append(taken)
        # The square root between the draw and the image: rare lesions stay louder than they are.
        undone.append(torch.full((len(taken),), math.sqrt(len(places) / max(1, len(taken)))))
    index = torch.cat(chosen)
    weight = torch.cat(undone)[:, None] * of_case
    return Cells(features.flatten(0, 1)[index].half(), share.T[index], weight, levels)


def fit_head(cells: Cells, steps: int, seed: int) -> CellHead:
    """Train a head by AdamW with a cosine decay; returns the moving average, in eval mode.

    Its loss is the weighted binary cross-entropy to the cells' shares. Same arguments, same head.
    """
    torch.manual_seed(seed)
    deviation, mean = torch.std_mean(cells.features.float(), dim=0)
    head = CellHead(mean, deviation, cells.share.shape[1], cells.levels)
    average = copy.deepcopy(head).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LR, weight_decay=_WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(seed)
    # However few cases know of a finding, it counts as much as the others.
    means = torch.stack([of_one.mean() for of_one in cells.weight.T.contiguous()])
    weights = cells.weight / means.clamp(min=1e-12)
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = _LR * min(1.0, (step + 1) / _WARMUP_STEPS) * (0.02 + 0.98 * cosine)
        index = torch.randint(0, len(cells.share), (_BATCH_CELLS,), generator=generator)
        logits = head(cells.features[index].float())
        each = F.binary_cross_entropy_with_logits(logits, cells.share[index], reduction="none")
        optimizer.zero_grad()
        loss = (each * weights[index]).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay = min(_DECAY, (step + 1) / (step + 10))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), head.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
    return average


@torch.inference_mode()
def head_maps(heads: Sequence[CellHead], encoded: Encoded, frame_size: int) -> Tensor:
    """What each head makes of one encoded image: (heads, C, S, S) float32 in [0, 1], 0 in the
    frame's padding. `heads`: at least one, all of the same levels."""
    features, inside = raster(encoded, frame_size, heads[0].levels)
    maps = torch.stack([torch.sigmoid(head(features)).movedim(-1, 0) for head in heads]) * inside
    size = (frame_size, frame_size)
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
