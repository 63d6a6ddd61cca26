"""The paper's student: UNet++ with 32-64-128-256-512 filters, 9,163,329 parameters.

Zhou et al., "UNet++: A Nested U-Net Architecture", 2018, in the form of the widespread PyTorch
version (bilinear upsampling, two conv-bn-relu a node); the node names are that version's too, so
its checkpoints fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from meddistill.base.errors import ConfigError
from meddistill.student.networks.student_network import NetworkOptions, StudentNetwork

FILTERS = (32, 64, 128, 256, 512)


class NestedUNet(StudentNetwork):
    """UNet++ without a pretrained encoder. Node (i, j) lies at depth i (stride 2^i), j steps along
    the skip path.

    Its encoder maps are the nodes (0, 0) to (4, 0): strides 1, 2, 4, 8 and 16. Deep supervision
    judges the nodes (0, 1) to (0, 3), each the end of a shallower network, as Zhou et al. do.
    """

    preprocessing_mean_std = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(
        self, filters: Sequence[int] = FILTERS, findings: int = 1, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.findings = findings
        self.in_channels = in_channels
        self.filters = tuple(filters)
        self.depth = len(self.filters) - 1
        self.stride = 2**self.depth
        self.feature_channels = list(self.filters)
        self.deep_channels = [self.filters[0]] * (self.depth - 1)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        for i, width in enumerate(self.filters):
            self.add_module(f"conv{i}_0", _Node(self.filters[i - 1] if i else in_channels, width))
        for j in range(1, self.depth + 1):
            for i in range(self.depth + 1 - j):
                self.add_module(
                    f"conv{i}_{j}",
                    _Node(self.filters[i] * j + self.filters[i + 1], self.filters[i]),
                )
        self.final = nn.Conv2d(self.filters[0], findings, kernel_size=1)

    @classmethod
    def build(cls, name: str, options: NetworkOptions) -> Self:
        """It has no encoder to start from: of the options only findings and channels count. Raises:
        ConfigError for `decoder_channels`."""
        if options.decoder_channels:
            raise ConfigError(f"decoder_channels does not go with '{name}', whose widths are fixed")
        return cls(findings=options.findings, in_channels=options.in_channels)

    @classmethod
    def from_saved_config(cls, config: Mapping[str, Any]) -> Self:
        filters = [int(width) for width in config.get("filters", FILTERS)]
        return cls(filters, int(config.get("findings", 1)), int(config.get("in_channels", 3)))

    def forward_with_features(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See `StudentNetwork`. Raises: ValueError where a side is no multiple of `stride`."""
        return self.forward_deep(frames)[:2]

    def forward_deep(self, frames: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        if frames.shape[-1] % self.stride or frames.shape[-2] % self.stride:
            raise ValueError(
                f"frame sides must be multiples of {self.stride}, got {tuple(frames.shape[-2:])}"
            )
        rows = [[self._node(0, 0)(frames)]]
        for i in range(1, self.depth + 1):
            rows.append([self._node(i, 0)(self.pool(rows[i - 1][0]))])
        for j in range(1, self.depth + 1):
            for i in range(self.depth + 1 - j):
                below = self.up(rows[i + 1][j - 1])
                rows[i].append(self._node(i, j)(torch.cat([*rows[i], below], dim=1)))
        return self.final(rows[0][-1]).float(), [row[0] for row in rows], rows[0][1:-1]

    def features(self, frames: Tensor) -> list[Tensor]:
        maps = [self._node(0, 0)(frames)]
        for i in range(1, self.depth + 1):
            maps.append(self._node(i, 0)(self.pool(maps[-1])))
        return maps

    def saved_config(self) -> dict[str, Any]:
        several = {"findings": self.findings} if self.findings > 1 else {}
        if self.in_channels != 3:
            several["in_channels"] = self.in_channels
        return {"_model_class": "NestedUNet", "filters": list(self.filters), **several}

    def saved_state(self) -> dict[str, Tensor]:
        return self.state_dict()

    def load_saved_state(self, state: Mapping[str, Tensor]) -> None:
        self.load_state_dict(state, strict=True)

    def _node(self, i: int, j: int) -> nn.Module:
        return self.get_submodule(f"conv{i}_{j}")


class _Node(nn.Module):
    """Conv 3x3, batch norm, ReLU, twice. Shape: (B, in, h, w) to (B, out, h, w)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        maps = torch.relu(self.bn1(self.conv1(maps)))
        return torch.relu(self.bn2(self.conv2(maps)))
