"""What a student's own images look like to it: the numbers alone. No torch here."""

from __future__ import annotations

import dataclasses

import numpy as np


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

    @property
    def least(self) -> float:
        """The smallest p-value that so few held-back images can give."""
        return 1 / (len(self.held) + 1)
