"""The student's frame: how an image gets in and a probability map back out. Torch only, so it fits
in an ONNX graph.

Every place that feeds the student calls `to_frame`: training, evaluation, prediction, export. The
longest side is resized to S, the rest padded at the bottom and right, so image pixel (x, y) lies at
(x, y) * S / longest side.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.data.preprocessing import Preprocessing, scaled_hw

__all__ = [
    "Preprocessing",
    "from_frame",
    "normalise",
    "preprocess",
    "scaled_hw",
    "spread",
    "to_frame",
]


def to_frame(images: Tensor, image_size: int) -> Tensor:
    """Resize the longest side to `image_size` (bilinear, antialiased when shrinking) and pad with
    0.

    Shape: (B, C, H, W), any float range, to (B, C, S, S).
    """
    height, width = scaled_hw((images.shape[-2], images.shape[-1]), image_size)
    if (height, width) != (images.shape[-2], images.shape[-1]):
        shrinks = max(images.shape[-2:]) > image_size  # a short side may round to what it was
        images = F.interpolate(
            images, (height, width), mode="bilinear", align_corners=False, antialias=shrinks
        )
    return F.pad(images, (0, image_size - width, 0, image_size - height))


def normalise(frames: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Frames (B, C, S, S) in [0, 255] to what the network expects: ((x / 255) - mean) / std; three
    channels are taken for RGB, of others each has the mean of those."""
    mean, std = (
        _by_channel(spread(values, frames.shape[1]), frames.dtype, frames.device)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (frames / 255 - mean) / std


def spread(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """A value a channel, of three values for red, green and blue."""
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels


@functools.cache
def _by_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """`values` as (1, C, 1, 1); kept, as the host waits for every copy to a GPU."""
    return torch.tensor(values, dtype=dtype, device=device).view(1, -1, 1, 1)


def preprocess(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Images (B, C, H, W) in [0, 255] (uint8 or float) to the network's input (B, C, S, S)
    float32."""
    return normalise(to_frame(images.float(), preprocessing.image_size), preprocessing)


def from_frame(frames: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Undo `to_frame`: cut the padding off and resize bilinearly to the image's own size.

    Shape: (B, C, S, S) to (B, C, H, W). Thresholds are applied after this, never before.
    """
    height, width = scaled_hw(size_hw, frames.shape[-1])
    frames = frames[..., :height, :width]
    if (height, width) == tuple(size_hw):
        return frames
    return F.interpolate(frames, size_hw, mode="bilinear", align_corners=False)
