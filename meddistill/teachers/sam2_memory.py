"""SAM 2's memory: what boxes hold on one slice, followed through a stack of them.

A slice is seen as `SAM2VideoPredictor` sees a frame, by the parts of the very network that answers
boxes on single images, so that its weights are there once. That predictor wants a folder of JPEG
files, a slice for each place of a whole video and what it made of every one of them at once; here
slices come one by one, and what no later slice looks at is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meddistill.teachers.teacher import DECODED_LEVEL, BoxMasks, Encoded, autocast

FINE_MAPS = ("fine0", "fine1")
"""Maps of higher resolution that the decoder reads beside the embedding, in `Encoded.state`."""
CHUNK_OBJECTS = 9
"""Most boxes that look at their memories together: one with its eight copies."""
_CORNERS = (2, 3)
"""SAM's labels of a box's first and last corner."""

ToFrame = Callable[[Tensor, tuple[int, int]], Tensor]
"""Boxes (N, 4) px of an image of a size (height, width) to px of the network's input."""


class Sam2Memory:
    """A SAM 2 network `net` as one that remembers. `to_frame`: brings boxes to its input."""

    def __init__(self, net: Any, to_frame: ToFrame, device: torch.device, precision: str) -> None:
        self.net = net
        self.to_frame = to_frame
        self.device = device
        self.precision = precision

    def begin(self, boxes_xyxy_px: np.ndarray) -> Sam2Track:
        return Sam2Track(self, boxes_xyxy_px)


class Sam2Track:
    """Boxes (N, 4) px of the first slice, each an object of its own, and what is remembered of each
    on the slices seen so far."""

    def __init__(self, memory: Sam2Memory, boxes_xyxy_px: np.ndarray) -> None:
        self._memory = memory
        self._boxes = torch.from_numpy(np.asarray(boxes_xyxy_px, np.float32).reshape(-1, 4))
        starts = range(0, len(self._boxes), CHUNK_OBJECTS)
        self._banks = [_Bank(memory.net) for _ in starts]

    @torch.inference_mode()
    def see(self, encoded: Encoded) -> BoxMasks:
        memory = self._memory
        net = memory.net
        maps = [encoded.state[name] for name in FINE_MAPS if name in encoded.state]
        maps.append(self._without_memory(encoded.features[DECODED_LEVEL]))
        maps = [each.to(memory.device) for each in maps]
        place = net.image_encoder.neck.position_encoding(maps[-1])
        if not self._banks:
            side = 4 * maps[-1].shape[-1]
            nothing = torch.zeros(0, side, side, device=memory.device)
            return BoxMasks(nothing, nothing[:, 0, 0])
        boxes = memory.to_frame(self._boxes, encoded.sizes_hw[0]).to(memory.device)
        chunks = torch.split(boxes, CHUNK_OBJECTS)
        with autocast(memory.device, memory.precision):
            found = [
                bank.see(maps, place, chunk)
                for bank, chunk in zip(self._banks, chunks, strict=True)
            ]
        logits, ious = (torch.cat(tensors) for tensors in zip(*found, strict=True))
        return BoxMasks(logits, ious)

    def _without_memory(self, embedding: Tensor) -> Tensor:
        """The embedding as it was before it was marked as one of a single image."""
        net = self._memory.net
        if not net.directly_add_no_mem_embed:
            return embedding
        return embedding - net.no_mem_embed.view(1, -1, 1, 1).to(embedding.device)


class _Bank:
    """What the network remembers of some objects, in the form in which its `track_step` reads it."""

    def __init__(self, net: Any) -> None:
        self._net = net
        self._seen = 0
        self._map_places: list[Tensor] = []
        self._outputs: dict[str, dict[int, dict[str, Any]]] = {
            "cond_frame_outputs": {},
            "non_cond_frame_outputs": {},
        }

    def see(self, maps: list[Tensor], place: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, h, w) and predicted IoU (n,) of the objects on the next slice.

        Args:
            maps: of the slice, each (1, C, h, w), the embedding last.
            place: position encoding of the embedding, (1, C, h, w).
            boxes: of the objects on the first slice, (n, 4) px of the input.
        """
        net, count, number = self._net, len(boxes), self._seen
        is_first = number == 0
        prompt = None
        if is_first:
            labels = torch.tensor([_CORNERS], dtype=torch.int32, device=boxes.device)
            prompt = {
                "point_coords": boxes.view(-1, 2, 2),
                "point_labels": labels.repeat(count, 1),
            }
        told: list[Tensor] = []
        # The predicted IoU is what `track_step` leaves out; of several masks it takes the surest.
        hook = net.sam_mask_decoder.register_forward_hook(
            lambda _module, _inputs, output: told.append(output[1].amax(-1))
        )
        try:
            output = net.track_step(
                frame_idx=number,
                is_init_cond_frame=is_first,
                current_vision_feats=[_as_tokens(each, count) for each in maps],
                current_vision_pos_embeds=[_as_tokens(place, count)],
                feat_sizes=[(each.shape[-2], each.shape[-1]) for each in maps],
                point_inputs=prompt,
                mask_inputs=None,
                output_dict=self._outputs,
                # As in a video without an end: an answer does not depend on what comes after.
                num_frames=number + net.max_obj_ptrs_in_encoder,
            )
        finally:
            hook.remove()
        # The same for every slice, and larger than the maps that it goes with.
        self._map_places = self._map_places or output["maskmem_pos_enc"]
        kind = "cond_frame_outputs" if is_first else "non_cond_frame_outputs"
        self._outputs[kind][number] = {
            # In half the bytes, as the official predictor keeps it.
            "maskmem_features": output["maskmem_features"].to(torch.bfloat16),
            "maskmem_pos_enc": self._map_places,
            "obj_ptr": output["obj_ptr"],
        }
        self._seen += 1
        self._forget()
        return output["pred_masks"][:, 0].float(), told[-1].float()

    def _forget(self) -> None:
        """Drop what no later slice looks at: maps beyond the reach of the memory, then pointers."""
        net = self._net
        reach = 1 + max(0, net.num_maskmem - 2) * net.memory_temporal_stride_for_eval
        remembered = self._outputs["non_cond_frame_outputs"]
        for number in list(remembered):
            distance = self._seen - number
            if distance > max(reach, net.max_obj_ptrs_in_encoder - 1):
                del remembered[number]
            elif distance > reach:
                remembered[number] = {"obj_ptr": remembered[number]["obj_ptr"]}


def _as_tokens(maps: Tensor, count: int) -> Tensor:
    """A map (1, C, h, w) as tokens (h * w, count, C), the same for all objects."""
    return maps.expand(count, -1, -1, -1).flatten(2).permute(2, 0, 1)
