"""The student's frame: how an image gets in and a probability map back out. Torch only, so it fits
in an ONNX graph.

Every place that feeds the student calls `to_frame`: training, evaluation, prediction, export. The
longest side is resized to S, the rest padded at the bottom and right, so image pixel (x, y) lies at
(x, y) * S / longest side.
"""

from __future__ import annotations

import dataclasses
import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.data.findings import LESION, Findings
from meddistill.data.intensity import IntensitySettings


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What a student needs to know of its input; stored beside its weights as preprocessing.json.

    `mean` and `std` are those of RGB values in [0, 1]. `threshold`: probability from which a pixel
    is lesion; of several `findings` each has its own among `thresholds`. `intensity`: how values of
    more than 8 bits became the 8-bit ones that it was trained on.
    """

    image_size: int = 256
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    threshold: float = 0.5
    intensity: IntensitySettings = dataclasses.field(default_factory=IntensitySettings)
    findings: Findings = LESION
    thresholds: tuple[float, ...] = ()

    @property
    def cuts(self) -> tuple[float, ...]:
        """A threshold a finding."""
        return self.thresholds or (self.threshold,) * len(self.findings)


def scaled_hw(size_hw: tuple[int, int], image_size: int) -> tuple[int, int]:
    """Height and width of the image inside the frame: longest side `image_size`, the other at least
    1 px."""
    height, width = size_hw
    scale = image_size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def to_frame(images: Tensor, image_size: int) -> Tensor:
    """Resize the longest side to `image_size` (bilinear, antialiased when shrinking) and pad with
    0.

    Shape: (B, C, H, W), any float range, to (B, C, S, S).
    """
    height, width = scaled_hw((images.shape[-2], images.shape[-1]), image_size)
    if (height, width) != (images.shape[-2], images.shape[-1]):
        shrinks = height < images.shape[-2]
        images = F.interpolate(
            images, (height, width), mode="bilinear", align_corners=False, antialias=shrinks
        )
    return F.pad(images, (0, image_size - width, 0, image_size - height))


def normalise(frames: Tensor, preprocessing: Preprocessing) -> Tensor:
    """RGB frames (B, 3, S, S) in [0, 255] to what the network expects: ((x / 255) - mean) / std."""
    mean, std = (
        _by_channel(tuple(values), frames.dtype, frames.device)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (frames / 255 - mean) / std


@functools.cache
def _by_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """`values` as (1, C, 1, 1); kept, as the host waits for every copy to a GPU."""
    return torch.tensor(values, dtype=dtype, device=device).view(1, -1, 1, 1)


def preprocess(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """RGB images (B, 3, H, W) in [0, 255] (uint8 or float) to the network's input (B, 3, S, S)
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
