"""What a student needs to know of its input, without the network: importing it imports no torch."""

from __future__ import annotations

import dataclasses

from meddistill.data.findings import LESION, Findings
from meddistill.data.grid import Grid
from meddistill.data.intensity import IntensitySettings

AXIAL = 2


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What a student needs to know of its input; stored beside its weights as preprocessing.json.

    `mean` and `std` are those of RGB values in [0, 1]. `threshold`: probability from which a pixel
    is lesion; of several `findings` each has its own among `thresholds`. `intensity`: how values of
    more than 8 bits became the 8-bit ones that it was trained on. `axis`: across which canonical axis
    volumes are cut. `context`: neighbours on each side that are seen as channels. `tiled`: its
    frames are tiles of the image at its own resolution. `grid`: one size of pixels in mm, to which
    images are brought before they are shown to it; None for the pixels that they have.
    """

    image_size: int = 256
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    threshold: float = 0.5
    intensity: IntensitySettings = dataclasses.field(default_factory=IntensitySettings)
    findings: Findings = LESION
    thresholds: tuple[float, ...] = ()
    axis: int = AXIAL
    context: int = 0
    tiled: bool = False
    grid: Grid | None = None

    @property
    def channels(self) -> int:
        """Of an image as the network takes it: red, green and blue, or slices."""
        return 2 * self.context + 1 if self.context else 3

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
