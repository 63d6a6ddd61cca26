"""Area resampling of images and feature maps: every output cell is the mean of the input that it
covers."""

from __future__ import annotations

import torch
from torch import Tensor


def area_weights(size_in: float, size_out: float, cells_in: int, cells_out: int) -> Tensor:
    """Weights (cells_out, cells_in) float32 of one axis: `size_in` input cells are spread over
    `size_out` output cells.

    Both sizes may be fractions and smaller than the numbers of cells: what lies beyond is padding.
    A row is the share of each input cell in that output cell and sums to 1, or to 0 for a cell of
    padding. Equal to OpenCV's INTER_AREA for an axis that shrinks.

    Args:
        size_in: length of the input, in input cells.
        size_out: length of the output, in output cells.
        cells_in: cells of the input map.
        cells_out: cells of the output map.
    """
    step = size_in / size_out
    start = torch.arange(cells_out, dtype=torch.float64)[:, None] * step
    end = (start + step).clamp(max=size_in)
    left = torch.arange(cells_in, dtype=torch.float64)[None]
    overlap = (torch.minimum(end, left + 1) - torch.maximum(start, left)).clamp(min=0)
    overlap[overlap < 1e-9] = 0  # rounding of the bounds, not a covered cell
    return (overlap / overlap.sum(1, keepdim=True).clamp(min=1e-12)).float()


def upscale_weights(cells_in: int, cells_out: int) -> Tensor:
    """Weights (cells_out, cells_in) of one axis that grows, as OpenCV's INTER_AREA has them.

    An output pixel that covers two input pixels mixes them by the covered shares; all others copy
    one.
    """
    scale = cells_in / cells_out
    position = torch.arange(cells_out, dtype=torch.float64)
    left = (position * scale + 1e-9).floor().clamp(max=cells_in - 1)
    share = (position + 1) - (left + 1) / scale
    share = torch.where(share > 1e-9, share - share.floor(), torch.zeros_like(share))
    right = (left + 1).clamp(max=cells_in - 1)
    weights = torch.zeros(cells_out, cells_in, dtype=torch.float64)
    rows = torch.arange(cells_out)
    weights[rows, left.long()] += 1 - share
    weights[rows, right.long()] += share
    return weights.float()


def resize_area(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize (C, H, W) float to `size_hw`, each axis by area as OpenCV's INTER_AREA does (to its
    rounding)."""
    height, width = size_hw
    if (height, width) == (image.shape[-2], image.shape[-1]):
        return image
    # OpenCV takes its growing branch for both axes as soon as one of them grows.
    grows = height > image.shape[-2] or width > image.shape[-1]
    rows, columns = (
        (upscale_weights(old, new) if grows else area_weights(old, new, old, new)).to(image)
        for old, new in ((image.shape[-2], height), (image.shape[-1], width))
    )
    return rows @ image @ columns.T
