"""What a teacher is: encode images once, decode any number of boxes on them. Each backend is one
module."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.base.errors import MedDistillError, is_out_of_memory

DECODED_LEVEL = "embedding"
"""The feature level that every teacher has, and that its decoder reads."""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A batch of encoded images.

    `features`: level name -> (B, C, h, w) encoder maps, channels first, on the teacher's own grid.
    `valid_share`: per image, the (height, width) share of that grid which the image covers; the
    rest is padding (1, 1 for a teacher that squashes to a square). `sizes_hw`: the images' own
    sizes. `state`: what else the backend's decoder reads, name -> (B, ...).
    """

    features: Mapping[str, Tensor]
    valid_share: Sequence[tuple[float, float]]
    sizes_hw: Sequence[tuple[int, int]]
    state: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sizes_hw)

    def of_one(self, index: int) -> Encoded:
        """The image at `index` as a batch of one."""
        features, state = (
            {name: maps[index : index + 1] for name, maps in tensors.items()}
            for tensors in (self.features, self.state)
        )
        return Encoded(features, [self.valid_share[index]], [self.sizes_hw[index]], state)

    @classmethod
    def stack(cls, parts: Sequence[Encoded]) -> Encoded:
        """One batch of all images of `parts`, which hold the same levels."""
        features, state = (
            {name: torch.cat([each[name] for each in tensors]) for name in tensors[0]}
            for tensors in ([part.features for part in parts], [part.state for part in parts])
        )
        shares = [share for part in parts for share in part.valid_share]
        return cls(features, shares, [size for part in parts for size in part.sizes_hw], state)

    def to_arrays(
        self, levels: Sequence[str] = (DECODED_LEVEL,), dtype: npt.DTypeLike = np.float16
    ) -> dict[str, np.ndarray]:
        """What `from_arrays` makes this encoding of again, as plain arrays for `np.savez`.

        `levels`: the feature maps to keep; decoding needs `DECODED_LEVEL` alone. `dtype`: of maps
        and state; float32 keeps every bit, float16 takes half (LiteMedSAM's `DECODED_LEVEL`: 2 MB an image).
        """
        kept = {f"feature {level}": self.features[level] for level in levels}
        kept |= {f"state {name}": maps for name, maps in self.state.items()}
        arrays = {name: maps.float().cpu().numpy().astype(dtype) for name, maps in kept.items()}
        arrays["valid_share"] = np.array(self.valid_share, np.float64)
        arrays["sizes_hw"] = np.array(self.sizes_hw, np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Encoded:
        """The encoding that `to_arrays` gave, in float32 on the CPU; a teacher's `decode` takes it
        to its own device."""
        found: dict[str, dict[str, Tensor]] = {"feature": {}, "state": {}}
        for name, array in arrays.items():
            kind, _, rest = name.partition(" ")
            if rest:
                found[kind][rest] = torch.from_numpy(np.asarray(array, np.float32))
        shares = [(float(high), float(wide)) for high, wide in arrays["valid_share"]]
        sizes = [(int(height), int(width)) for height, width in arrays["sizes_hw"]]
        return cls(found["feature"], shares, sizes, found["state"])


@dataclasses.dataclass(frozen=True)
class BoxMasks:
    """What the teacher says to the boxes of one image.

    `logits`: (N, h, w) float32, one low-resolution mask a box in the teacher's frame.
    `predicted_iou`: (N,) float32, the teacher's own estimate; can exceed 1 and is not calibrated.
    No box gives (0, h, w) and (0,).
    """

    logits: Tensor
    predicted_iou: Tensor


class Track(Protocol):
    """Boxes on one slice of a stack, and what a teacher remembers of what they hold."""

    def see(self, encoded: Encoded) -> BoxMasks:
        """The masks on the next slice, (N, h, w) one a box, which may be empty; the first to be seen
        is the slice that the boxes lie on. `encoded`: a batch of one. What is kept of the slices does
        not grow with their number."""
        ...


class Memory(Protocol):
    """A teacher's own way of following what boxes hold from slice to slice."""

    def begin(self, boxes_xyxy_px: np.ndarray) -> Track:
        """Follow the boxes (N, 4) px, each as an object of its own. The slices are then seen in the
        order in which they are walked, either way."""
        ...


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
    """Level -> channels; `DECODED_LEVEL` is among them."""
    head_levels: Sequence[str]
    """The levels that tell a finding best to a small head, `DECODED_LEVEL` first."""
    takes_masks: bool
    """Whether it was trained to be prompted by a mask beside a box."""
    logit_shift: float
    """What its masks need: added to the logit of the mean over a case's copies."""
    memory: Memory | None
    """How it follows boxes through a stack of slices; None: it remembers nothing, and each slice has
    to be prompted by boxes."""

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
        by the boxes alone. An encoding may come from disk (`Encoded.from_arrays`).
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


def give_back_freed_memory() -> None:
    """Let CUDA's allocator and the C library (glibc alone) give back what they kept so far, so that
    larger pieces fit again."""
    torch.cuda.empty_cache()  # does nothing where CUDA is not in use
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def encode_in_memory(teacher: Teacher, images: Sequence[np.ndarray]) -> Encoded:
    """`teacher.encode(images)`; where memory runs out for all of them together, one by one. Raises:
    MedDistillError where a single image does not fit."""
    try:
        return teacher.encode(images)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Here the error is forgotten, and with it what was made meanwhile.
    give_back_freed_memory()
    if len(images) == 1:
        raise MedDistillError(
            f"out of memory while {teacher.name} looks at one image; take a smaller teacher "
            "(distill.teacher), fewer views at once (distill.targets.views=whole), or --device cpu"
        )
    return Encoded.stack([encode_in_memory(teacher, [image]) for image in images])


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 arithmetic where `precision` is `bf16-mixed`, else no change."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed")


def resize_maps(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Bilinear resize of (N, h, w) to (N, H, W); N may be 0."""
    if len(maps) == 0:
        return maps.new_zeros(0, *size_hw)
    return F.interpolate(maps[None], size_hw, mode="bilinear", align_corners=False)[0]
