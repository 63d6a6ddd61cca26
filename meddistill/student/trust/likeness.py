"""What a student's own images look like to it: the numbers alone. No torch here."""

from __future__ import annotations

import dataclasses

import numpy as np

LOOK_LIMIT = 4.0
"""An image that has nothing to do with the others must not move odds beyond all bounds."""


@dataclasses.dataclass(frozen=True)
class Likeness:
    """What the student's own images look like to it.

    `mean`, `scale` (D,): of pooled features of training images. `directions` (r, D) of unit length,
    in those units, along which they vary most; `kept` (r,): by how much each is shortened.
    `references` (R, D) float32, theirs, so shortened. `held` (n,): distances of own images that
    taught it nothing, rising, each above the last.
    """

    mean: np.ndarray
    scale: np.ndarray
    directions: np.ndarray
    kept: np.ndarray
    references: np.ndarray
    held: np.ndarray

    def looks(self, features: np.ndarray) -> np.ndarray:
        """Features (N, D) in units of the training images', at most `LOOK_LIMIT` of them, float32."""
        return np.clip((features - self.mean) / self.scale, -LOOK_LIMIT, LOOK_LIMIT)

    @property
    def least(self) -> float:
        """The smallest p-value that so few held-back images can give."""
        return 1 / (len(self.held) + 1)
