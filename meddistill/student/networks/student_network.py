"""What every student network offers, whatever it is made of: logits, encoder maps, and what is
saved of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """What a network is built with, as far as it knows such things.

    `encoder_weights`: `imagenet`, `none`, or a file. `decoder_channels`: widths of the decoder,
    coarse to fine; empty: the network's own. `findings`: channels that come out, `in_channels`: those
    that go in.
    """

    encoder: str
    encoder_weights: str
    decoder_channels: Sequence[int] = ()
    findings: int = 1
    in_channels: int = 3


class StudentNetwork(nn.Module):
    """A segmentation network for square RGB frames, a channel of logits a finding.

    `feature_channels`: channels of each encoder map, fine to coarse. `preprocessing_mean_std`: the
    normalisation of RGB in [0, 1] that the encoder's weights were trained with. `weights_source`:
    where these weights came from, in words (`random` until something is loaded). `stride`: frame
    sides must be multiples of it. `deep_channels`: channels of the maps that deep supervision can
    judge, empty where the architecture has none.
    """

    feature_channels: list[int]
    preprocessing_mean_std: tuple[tuple[float, float, float], tuple[float, float, float]]
    weights_source: str = "random"
    stride: int = 32
    deep_channels: Sequence[int] = ()
    findings: int = 1
    in_channels: int = 3

    @classmethod
    def build(cls, name: str, options: NetworkOptions) -> Self:
        """The network of that name, to be trained. Raises: ConfigError, WeightsError."""
        raise NotImplementedError

    @classmethod
    def from_saved_config(cls, config: Mapping[str, Any]) -> Self:
        """The network that `saved_config` told of, its weights still random."""
        raise NotImplementedError

    def forward(self, frames: Tensor) -> Tensor:
        """Lesion logits. Shape: (B, 3, S, S) normalised frames to (B, C, S, S) float32, whatever
        autocast says."""
        return self.forward_with_features(frames)[0]

    def features(self, frames: Tensor) -> list[Tensor]:
        """Encoder maps (B, C, h, w), fine to coarse; C as in `feature_channels`."""
        return self.forward_with_features(frames)[1]

    def forward_with_features(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and encoder maps of one pass."""
        raise NotImplementedError

    def forward_deep(self, frames: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Logits, encoder maps, and the maps (B, C, S, S) for deep supervision; C as in
        `deep_channels`."""
        return *self.forward_with_features(frames), []

    def saved_config(self) -> dict[str, Any]:
        """What config.json holds: `_model_class` and the arguments that build the network again."""
        raise NotImplementedError

    def saved_state(self) -> dict[str, Tensor]:
        """The tensors of model.safetensors."""
        raise NotImplementedError

    def load_saved_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what `saved_state` gave. Raises: RuntimeError for a missing, strange or misshapen
        tensor."""
        raise NotImplementedError
