"""An image seen mirrored, upside down or turned, and what was drawn on it likewise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from meddistill.data.frames import scaled_hw


@dataclasses.dataclass(frozen=True)
class View:
    """A way to see an image. `name`: what it is called in a file's name; empty as it is. `mirrored`:
    across, and upside down. `turned`: by a quarter, anticlockwise."""

    name: str = ""
    mirrored: tuple[bool, bool] = (False, False)
    turned: bool = False

    def of(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, ...), any dtype, as it is seen, (H', W', ...)."""
        across, upside_down = self.mirrored
        seen = image[:: -1 if upside_down else 1, :: -1 if across else 1]
        return np.ascontiguousarray(np.rot90(seen) if self.turned else seen)

    def size_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Of an image of that size as it is seen."""
        return size_hw[::-1] if self.turned else size_hw

    def of_framed(self, planes: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """Planes (C, S, S) in the frame of an image of that size, in that of the image as it is
        seen; 0 in the padding."""
        height, width = scaled_hw(size_hw, planes.shape[-1])
        seen = self.of(planes[:, :height, :width].transpose(1, 2, 0)).transpose(2, 0, 1)
        framed = np.zeros_like(planes)
        framed[:, : seen.shape[1], : seen.shape[2]] = seen
        return framed


AS_IT_IS = View()
_OTHERS = (
    View("mirrored", mirrored=(True, False)),
    View("upside-down", mirrored=(False, True)),
    View("turned", turned=True),
)


def some_views(count: int, keeps_sides: tuple[bool, bool]) -> Sequence[View]:
    """`AS_IT_IS` and others, at most `count`. `keeps_sides`: whether images must not be mirrored
    across, and upside down; where either is so, they are not turned."""
    allowed = [
        view
        for view in _OTHERS
        if not any(keeps_sides if view.turned else np.logical_and(view.mirrored, keeps_sides))
    ]
    return [AS_IT_IS, *allowed][: max(1, count)]
