"""SAM 2 and 2.1 (Ravi et al., 2024) as a box-prompted image teacher, through the module `sam2`.

The network's own parts are called, so that batches, several boxes an image and inputs other than
1024 px work; at 1024 px the result is that of `SAM2ImagePredictor` with `multimask_output=False`.
Dynamic multimask (what `apply_postprocessing` switches on in `build_sam2`) stays off: one box, one
mask. The only module that imports `sam2`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.base.errors import InputError, WeightsError, first_line, in_one_line
from meddistill.base.hashing import sha256_file
from meddistill.teachers.sam2_memory import FINE_MAPS, Sam2Memory
from meddistill.teachers.sam_family import EmbedPrompts, Encodings, SamFamily
from meddistill.teachers.teacher import DECODED_LEVEL, Encoded, Memory, autocast

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
_MOST_MASK_LOGIT = 32.0
"""What the official predictor holds the logits of a mask prompt to."""
_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def _import_sam2() -> Any:
    """The module `sam2`. Importing it sets Hydra up with rules that Hydra 1.4 refuses, so we do
    that first."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    if not GlobalHydra.instance().is_initialized():
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about rules that differ between versions; no config is composed
            initialize_config_module("sam2")
    import sam2

    return sam2


def packaged_yaml(name: str) -> Path:
    """The model description `name` (such as `sam2.1/sam2.1_hiera_t.yaml`) inside the installed
    `sam2` package."""
    return Path(_import_sam2().__file__).parent / "configs" / name


def build_network(model_yaml: Path, image_size: int | None = None) -> torch.nn.Module:
    """Build a SAM 2 network with random weights from its yaml.

    A yaml names the classes it wants, so a foreign one could run anything: only networks of `sam2`
    are allowed, and they are built here, not by Hydra. `image_size`: side of the square input in
    px, instead of the yaml's. Raises: InputError for a file that cannot be read, has no `model`, or
    names anything else.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        config = OmegaConf.load(model_yaml)
        if not isinstance(config, DictConfig) or "model" not in config:
            raise InputError(
                f"{model_yaml} has no section `model`; expected a SAM 2 model description"
            )
        model = OmegaConf.to_container(config.model, resolve=True)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(
            f"{model_yaml} cannot be read as a SAM 2 model description: {error}"
        ) from error
    if image_size is not None and isinstance(model, dict):
        model["image_size"] = image_size
    _import_sam2()
    try:
        network = _instantiate(model, model_yaml)
    except (TypeError, AssertionError) as error:
        raise InputError(f"{model_yaml} does not describe a SAM 2 network: {error}") from error
    if not isinstance(network, torch.nn.Module):
        raise InputError(
            f"{model_yaml} does not describe a SAM 2 network: `model` has no `_target_`"
        )
    return network


def _instantiate(node: Any, model_yaml: Path) -> Any:
    """Values as they are; a mapping with `_target_` becomes that `sam2` network, the rest its
    arguments."""
    if isinstance(node, list):
        return [_instantiate(value, model_yaml) for value in node]
    if not isinstance(node, dict):
        return node
    arguments = {
        key: _instantiate(value, model_yaml) for key, value in node.items() if key != "_target_"
    }
    if "_target_" not in node:
        return arguments
    target = str(node["_target_"])
    module_name, _, class_name = target.rpartition(".")
    kind = None
    if re.fullmatch(r"sam2(\.\w+)+", module_name):
        try:
            kind = getattr(importlib.import_module(module_name), class_name, None)
        except ImportError as error:
            raise InputError(
                f"{model_yaml} names {target!r}, which this version of sam2 does not have"
            ) from error
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        raise InputError(f"{model_yaml} names {target!r}; only networks of `sam2` are allowed")
    return kind(**arguments)


def load_network(model_yaml: Path, weights: Path, image_size: int | None = None) -> torch.nn.Module:
    """`build_network` with the weights of a checkpoint in Meta's form `{"model": state_dict}`;
    every key must fit.

    Raises: InputError as `build_network`; WeightsError for a file in another form or for another
    network.
    """
    network = build_network(model_yaml, image_size)
    try:
        content = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling a foreign file raises
        raise WeightsError(
            f"{weights} is not a checkpoint of tensors: {first_line(error)}"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise WeightsError(f'{weights} is not in SAM 2\'s form {{"model": weights}}')
    try:
        network.load_state_dict(content["model"], strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{weights} does not fit the network of {model_yaml.name}: {in_one_line(error)}"
        ) from error
    return network


@dataclasses.dataclass(frozen=True)
class NetworkFiles:
    """Where a SAM 2 network comes from: its description, and its weights in Meta's form.
    `image_size`: side of the square input, px, in place of the description's."""

    model_yaml: Path
    weights: Path
    image_size: int | None = None


class Sam2(SamFamily):
    """A `sam2*` teacher. Feature levels: `embedding` (what the decoder reads) and `stage1` to
    `stage4` of the trunk."""

    takes_masks = True
    # What further ones add was measured with LiteMedSAM alone.
    head_levels: Sequence[str] = (DECODED_LEVEL,)
    logit_shift = 0.0

    def __init__(
        self,
        name: str,
        network: torch.nn.Module,
        identity: str,
        device: torch.device,
        precision: str = "32-true",
    ) -> None:
        """`identity` names the weights (their SHA-256) for the fingerprint."""
        self.name = name
        net: Any = network.to(device).eval().requires_grad_(False)
        self.net = net
        self.device = device
        self.precision = precision
        self.input_size: int = net.image_size
        stages = net.image_encoder.trunk.channel_list[::-1]
        self.feature_channels: Mapping[str, int] = {
            "embedding": net.hidden_dim,
            **{f"stage{number}": channels for number, channels in enumerate(stages, start=1)},
        }
        self.memory: Memory | None = None
        if net.num_maskmem:
            self.memory = Sam2Memory(net, self._to_frame, device, precision)
        described = f"sam2 {identity} {self.input_size} single mask"
        self.fingerprint = hashlib.sha256(described.encode()).hexdigest()

    @classmethod
    def from_files(
        cls, name: str, files: NetworkFiles, device: torch.device, precision: str
    ) -> Sam2:
        """Load a teacher from its model description and checkpoint. Raises as `load_network`.

        Args:
            name: what it is called.
            files: description and weights.
            device: where it computes.
            precision: `32-true` or `bf16-mixed`.
        """
        identity = f"{sha256_file(files.weights)} {sha256_file(files.model_yaml)}"
        network = load_network(files.model_yaml, files.weights, files.image_size)
        return cls(name, network, identity, device, precision)

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray]) -> Encoded:
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        frames = torch.cat([self._to_input(image) for image in images])
        with autocast(self.device, self.precision):
            encoder = self.net.image_encoder
            stages = encoder.trunk(frames)
            maps, _ = encoder.neck(stages)
            maps = maps[: len(maps) - encoder.scalp][-self.net.num_feature_levels :]
            fine: dict[str, Tensor] = {}
            if self.net.use_high_res_features_in_sam:
                decoder = self.net.sam_mask_decoder
                finest = (decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1]))
                fine = dict(zip(FINE_MAPS, finest, strict=True))
            embedding = maps[-1]
            if self.net.directly_add_no_mem_embed:
                embedding = embedding + self.net.no_mem_embed.view(1, -1, 1, 1)
        features = {"embedding": embedding.float()}
        features |= {
            f"stage{number}": stage.float() for number, stage in enumerate(stages, start=1)
        }
        return Encoded(features, [(1.0, 1.0)] * len(images), sizes, state=fine)

    def _to_frame(self, boxes_xyxy_px: Tensor, size_hw: tuple[int, int]) -> Tensor:
        height, width = size_hw
        scale = torch.tensor([width, height, width, height], dtype=torch.float32)
        return boxes_xyxy_px / scale * self.input_size

    def _prompt_encoder(
        self, mask_logits: Sequence[Tensor | None] | None, counts: Sequence[int], side: int
    ) -> EmbedPrompts:
        encode = self.net.sam_prompt_encoder
        guesses = _MaskPrompts(mask_logits, counts, side, self.device)

        def embed(boxes: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            # As the official predictor: the corners are two points with labels 2 and 3, and a third
            # is padding.
            corners = torch.tensor([[2, 3]], dtype=torch.int, device=self.device)
            labels = corners.repeat(len(boxes), 1)
            sparse, dense = encode(points=(boxes.view(-1, 2, 2), labels), boxes=None, masks=None)
            if guesses.given is not None:
                masks, given = guesses.rows(rows)
                dense = torch.where(given, encode(points=None, boxes=None, masks=masks)[1], dense)
            return sparse, dense

        return embed

    def _decode_masks(
        self, images: Encodings, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        masks, ious, _, _ = self.net.sam_mask_decoder(
            image_embeddings=images.embedding,
            image_pe=images.positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=False,
            high_res_features=[images.state[name] for name in FINE_MAPS if name in images.state]
            or None,
        )
        return masks, ious

    def _position_embedding(self) -> Tensor:
        positions: Tensor = self.net.sam_prompt_encoder.get_dense_pe()
        return positions

    def _content_hw(self, size_hw: tuple[int, int], maps_hw: tuple[int, int]) -> tuple[int, int]:
        return maps_hw  # the image was squashed to the square: all of it

    def _to_input(self, image: np.ndarray) -> Tensor:
        """Official preprocessing: (H, W, 3) uint8 RGB squashed to a square (antialiased), ImageNet
        mean and std."""
        pixels = (
            torch.from_numpy(np.ascontiguousarray(image))
            .to(self.device)
            .permute(2, 0, 1)[None]
            .float()
            / 255
        )
        side = (self.input_size, self.input_size)
        pixels = F.interpolate(pixels, side, mode="bilinear", align_corners=False, antialias=True)
        return (pixels - _MEAN.to(pixels)) / _STD.to(pixels)


class _MaskPrompts:
    """First guesses of a call's prompts, as the prompt encoder takes them; `given` is None where
    there are none."""

    def __init__(
        self,
        mask_logits: Sequence[Tensor | None] | None,
        counts: Sequence[int],
        side: int,
        device: torch.device,
    ) -> None:
        self.given: Tensor | None = None
        found = list(mask_logits or [])
        if all(masks is None for masks in found):
            return
        frames, given = [], []
        for masks, count in zip(found, counts, strict=True):
            given += [masks is not None] * count
            if masks is None:
                frames.append(torch.zeros(count, side, side, device=device))
                continue
            # Squashed to the square, as the image was.
            small = F.interpolate(
                masks[:, None].to(device).float(),
                (side, side),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
            frames.append(small[:, 0].clamp(-_MOST_MASK_LOGIT, _MOST_MASK_LOGIT))
        self.masks = torch.cat(frames)
        self.given = torch.tensor(given, device=device)

    def rows(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Masks (N, 1, side, side) of these prompts, and which have one, (N, 1, 1, 1) bool."""
        assert self.given is not None
        return self.masks[rows, None], self.given[rows, None, None, None]
