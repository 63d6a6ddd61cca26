"""The bridge between two encoders: the student's maps brought to the teacher's channels and
grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureAdapters(nn.Module):
    """One 1x1 convolution a teacher level. Used in training only; not part of the student.

    A level is compared with the student's map whose grid is nearest to the teacher's (the coarser
    of two equally near). `teacher_shapes`: level -> (C, h, w). `student_shapes`: (C, h, w) of each
    of the student's encoder maps.
    """

    def __init__(
        self,
        student_shapes: Sequence[tuple[int, int, int]],
        teacher_shapes: Mapping[str, tuple[int, int, int]],
    ) -> None:
        super().__init__()
        self.grids = {level: shape[1:] for level, shape in teacher_shapes.items()}
        self.sources = {
            level: _nearest_grid(student_shapes, shape) for level, shape in teacher_shapes.items()
        }
        # A ModuleList: level names of foreign teachers may hold dots, which module names may not.
        self.convolutions = nn.ModuleList(
            nn.Conv2d(student_shapes[self.sources[level]][0], shape[0], kernel_size=1)
            for level, shape in teacher_shapes.items()
        )

    def forward(self, student_maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Encoder maps of the student to {level: (B, C, h, w)} in the teacher's shapes."""
        adapted = {}
        for (level, grid), convolution in zip(self.grids.items(), self.convolutions, strict=True):
            adapted[level] = convolution(_to_grid(student_maps[self.sources[level]], grid))
        return adapted


def _nearest_grid(
    student_shapes: Sequence[tuple[int, int, int]], teacher: tuple[int, int, int]
) -> int:
    def distance(index: int) -> tuple[float, int]:
        ratio = student_shapes[index][1] / teacher[1]
        return max(ratio, 1 / ratio), -index

    return min(range(len(student_shapes)), key=distance)


def _to_grid(features: Tensor, grid: tuple[int, int]) -> Tensor:
    if features.shape[-2:] == torch.Size(grid):
        return features
    if features.shape[-2] > grid[0]:
        if _mps_lacks_pooling(features.device, features.shape[-2:], grid):
            return F.adaptive_avg_pool2d(features.cpu(), grid).to(features.device)
        return F.adaptive_avg_pool2d(features, grid)
    return F.interpolate(features, grid, mode="bilinear", align_corners=False)


def _mps_lacks_pooling(device: torch.device, size: Sequence[int], grid: Sequence[int]) -> bool:
    """Whether Apple's GPU would refuse: it pools only what the grid divides."""
    return device.type == "mps" and any(
        length % cells for length, cells in zip(size, grid, strict=True)
    )
