"""What the teachers that descend from SAM have in common: boxes brought to the input's frame, decoded
in chunks on an image embedding, and their masks placed on the image."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from meddistill.teachers.teacher import DECODED_LEVEL, BoxMasks, Encoded, autocast, resize_maps

CHUNK_BOXES = 72
"""Most boxes a decoder call: eight images with nine boxes each."""

EmbedPrompts = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""Boxes (N, 4) in the input's frame, and which of a call's prompts they are, to sparse and dense
prompt embeddings."""


class Encodings(NamedTuple):
    """Of each prompt its image's `embedding` (N, C, h, w) and what else the decoder reads, `state`;
    and the `positions` of the grid, (1, C, h, w)."""

    embedding: Tensor
    state: dict[str, Tensor]
    positions: Tensor


class SamFamily(abc.ABC):
    """A teacher with SAM's parts. A subclass encodes images and says what differs in decoding."""

    device: torch.device
    precision: str

    @torch.inference_mode()
    def decode(
        self,
        encoded: Encoded,
        boxes_xyxy_px: Sequence[np.ndarray],
        mask_logits: Sequence[Tensor | None] | None = None,
    ) -> list[BoxMasks]:
        prompts = [
            self._to_frame(torch.from_numpy(np.asarray(boxes, np.float32).reshape(-1, 4)), size)
            for boxes, size in zip(boxes_xyxy_px, encoded.sizes_hw, strict=True)
        ]
        embedding = encoded.features[DECODED_LEVEL].to(self.device)
        state = {name: maps.to(self.device) for name, maps in encoded.state.items()}
        place = self._position_embedding()
        side = 4 * embedding.shape[-1]
        embed = self._prompt_encoder(mask_logits, [len(boxes) for boxes in prompts], side)

        def decode_chunk(image_index: Tensor, boxes: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            sparse, dense = embed(boxes, rows)
            images = Encodings(
                embedding[image_index],
                {name: maps[image_index] for name, maps in state.items()},
                place,
            )
            with autocast(self.device, self.precision):
                masks, ious = self._decode_masks(images, sparse, dense)
            return masks[:, 0].float(), ious[:, 0].float()

        return _decode_in_chunks(decode_chunk, prompts, (side, side), self.device)

    def to_image(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        height, width = self._content_hw(size_hw, (logits.shape[-2], logits.shape[-1]))
        cut = logits[:, :height, :width]
        return cut if (height, width) == tuple(size_hw) else resize_maps(cut, size_hw)

    @abc.abstractmethod
    def _to_frame(self, boxes_xyxy_px: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Boxes (N, 4) px of an image in the px of the encoder's input."""

    @abc.abstractmethod
    def _prompt_encoder(
        self, mask_logits: Sequence[Tensor | None] | None, counts: Sequence[int], side: int
    ) -> EmbedPrompts:
        """What embeds the prompts of a call. `mask_logits`: as `decode`; `counts`: boxes an image;
        `side`: of the decoder's masks, px."""

    @abc.abstractmethod
    def _decode_masks(
        self, images: Encodings, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (N, 1, side, side) and predicted IoU (N, 1) of N prompts, each on the
        encoding of its image."""

    @abc.abstractmethod
    def _position_embedding(self) -> Tensor:
        """Of the embedding's grid, (1, C, h, w)."""

    @abc.abstractmethod
    def _content_hw(self, size_hw: tuple[int, int], maps_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the part of a mask that shows the image."""


def _decode_in_chunks(
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
