"""Maps of a window of the image, placed on the whole of it without holding more than the window."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.targets.zoom import Window
from meddistill.teachers.teacher import Teacher

NOTHING = -30.0
"""Logit where a view sees nothing: probability 0."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Logits (N, h, w) of some rows and columns of an image; everywhere else they are -30."""

    logits: Tensor
    rows: slice
    columns: slice

    def whole(self, size_hw: tuple[int, int]) -> Tensor:
        """The logits of the whole image, (N, H, W)."""
        if tuple(self.logits.shape[-2:]) == tuple(size_hw):
            return self.logits
        placed = self.logits.new_full((len(self.logits), *size_hw), NOTHING)
        placed[:, self.rows, self.columns] = self.logits
        return placed

    def larger_of(self, largest: Tensor) -> Tensor:
        """`largest` (H, W), of an image as large, with what is larger here."""
        here = torch.maximum(largest[self.rows, self.columns], self.logits.amax(0))
        larger = largest.clamp(min=NOTHING)
        larger[self.rows, self.columns] = here
        return larger


def part_on_image(
    teacher: Teacher,
    logits: Tensor,
    window: Window,
    size_hw: tuple[int, int],
    content_hw: tuple[int, int],
) -> Part:
    """Logits of a window of the image, where they lie on the image resized to `content_hw`.

    Args:
        teacher: whose frame the logits are in.
        logits: (N, h, w).
        window: of the image, px.
        size_hw: of the image.
        content_hw: what the image is resized to.
    """
    left, top, right, bottom = window
    if (left, top, right, bottom) == (0, 0, size_hw[1], size_hw[0]):
        every_row, every_column = slice(0, content_hw[0]), slice(0, content_hw[1])
        return Part(teacher.to_image(logits, content_hw), every_row, every_column)
    scale_y, scale_x = content_hw[0] / size_hw[0], content_hw[1] / size_hw[1]
    height, width = (bottom - top) * scale_y, (right - left) * scale_x
    local = teacher.to_image(logits, (max(1, round(height)), max(1, round(width))))
    rows = _reached(top * scale_y, height, local.shape[-2], content_hw[0])
    columns = _reached(left * scale_x, width, local.shape[-1], content_hw[1])
    # Pixel centres of the frame in the window's coordinates, -1 to 1 from edge to edge.
    y = (torch.arange(content_hw[0], device=logits.device) + 0.5 - top * scale_y) / height * 2 - 1
    x = (torch.arange(content_hw[1], device=logits.device) + 0.5 - left * scale_x) / width * 2 - 1
    grid = torch.stack(torch.meshgrid(y[rows], x[columns], indexing="ij")[::-1], dim=-1)[None]
    placed = F.grid_sample(
        local[None] - NOTHING, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return Part(placed[0] + NOTHING, rows, columns)


def _reached(start: float, length: float, pixels: int, size: int) -> slice:
    """The frame's pixels, of `size`, which a window from `start` of this length reaches: half one of
    its `pixels` beyond either end, where bilinear weights end."""
    beyond = length / pixels / 2 + 1
    first = min(max(math.floor(start - beyond), 0), size - 1)
    last = min(math.ceil(start + length + beyond), size)
    return slice(first, max(last, first + 1))
