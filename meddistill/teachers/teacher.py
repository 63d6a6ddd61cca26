"""What a teacher is: encode images once, decode any number of boxes on them. Each backend is one
module."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BOXES = 72
"""Most boxes a decoder call: eight images with nine boxes each."""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A batch of encoded images.

    `features`: level name -> (B, C, h, w) encoder maps, channels first, on the teacher's own grid.
    `valid_share`: per image, the (height, width) share of that grid which the image covers; the
    rest is padding (1, 1 for a teacher that squashes to a square). `sizes_hw`: the images' own
    sizes. `state`: the backend's own.
    """

    features: Mapping[str, Tensor]
    valid_share: Sequence[tuple[float, float]]
    sizes_hw: Sequence[tuple[int, int]]
    state: Any


@dataclasses.dataclass(frozen=True)
class BoxMasks:
    """What the teacher says to the boxes of one image.

    `logits`: (N, h, w) float32, one low-resolution mask a box in the teacher's frame.
    `predicted_iou`: (N,) float32, the teacher's own estimate; can exceed 1 and is not calibrated.
    No box gives (0, h, w) and (0,).
    """

    logits: Tensor
    predicted_iou: Tensor


class Teacher(Protocol):
    """A frozen, box-promptable segmenter. Images are uint8 RGB (H, W, 3); boxes are (N, 4) float32
    px, half-open.

    `fingerprint` changes whenever weights or settings that change its output do: cached targets are
    keyed by it. Neither device nor precision does, so that a RUN can go on on another machine: bf16
    moves masks less than a pixel's edge (see `load_teacher`).
    """

    name: str
    fingerprint: str
    feature_channels: Mapping[str, int]
    takes_masks: bool
    """Whether it was trained to be prompted by a mask beside a box."""

    def encode(self, images: Sequence[np.ndarray]) -> Encoded:
        """Run the image encoder once on a batch of images of any sizes."""
        ...

    def decode(
        self,
        encoded: Encoded,
        boxes_xyxy_px: Sequence[np.ndarray],
        mask_logits: Sequence[Tensor | None] | None = None,
    ) -> list[BoxMasks]:
        """Decode all boxes of all images in one decoder call; counts may differ from image to
        image.

        `mask_logits`: of each image None, or a first guess for each of its boxes, (N, H, W) logits
        in the image's px, that prompts beside the box. A teacher without `takes_masks` is prompted
        by the boxes alone.
        """
        ...

    def to_image(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Map (N, h, w) maps in the teacher's frame to the image's own size: (N, H, W),
        bilinear.
        """
        ...


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next call instead of giving it back to the
    system.

    Each forward pass on a CPU allocates and frees maps of many MB; without this, glibc maps and
    zeroes fresh pages for every one of them, which costs as much time as the arithmetic.
    Process-wide; does nothing elsewhere than glibc.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 arithmetic where `precision` is `bf16-mixed`, else no change."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed")


def resize_maps(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Bilinear resize of (N, h, w) to (N, H, W); N may be 0."""
    if len(maps) == 0:
        return maps.new_zeros(0, *size_hw)
    return F.interpolate(maps[None], size_hw, mode="bilinear", align_corners=False)[0]


def decode_in_chunks(
    decode_chunk: Callable[[Tensor, Tensor, slice], tuple[Tensor, Tensor]],
    prompts: Sequence[Tensor],
    mask_hw: tuple[int, int],
    device: torch.device,
) -> list[BoxMasks]:
    """Decode the boxes of all images together, at most `CHUNK_BOXES` a call so that memory stays
    bounded.

    `decode_chunk` takes the image index (N,) and the box (N, 4) of each prompt, and which of all
    prompts these are; it returns logits (N, h, w) and predicted IoU (N,). `prompts`: boxes (n, 4)
    of each image in the teacher's frame.
    """
    counts = [len(boxes) for boxes in prompts]
    if sum(counts) == 0:
        return [
            BoxMasks(torch.zeros(0, *mask_hw, device=device), torch.zeros(0, device=device))
            for _ in prompts
        ]
    boxes = torch.cat(list(prompts)).to(device)
    image_index = torch.repeat_interleave(torch.arange(len(prompts)), torch.tensor(counts)).to(
        device
    )
    chunks = [slice(start, start + CHUNK_BOXES) for start in range(0, len(boxes), CHUNK_BOXES)]
    parts = [decode_chunk(image_index[chunk], boxes[chunk], chunk) for chunk in chunks]
    logits, ious = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    per_image = zip(torch.split(logits, counts), torch.split(ious, counts), strict=True)
    return [BoxMasks(masks, iou) for masks, iou in per_image]
