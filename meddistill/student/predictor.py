"""What `predict` and `eval` need of a student: a stand-in with these two serves as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from meddistill.data.preprocessing import Preprocessing


class Predictor(Protocol):
    """Images in, probabilities out; `student.student.Student` is one."""

    preprocessing: Preprocessing

    def predict_probs(
        self, images: Sequence[np.ndarray], batch_size: int = ...
    ) -> list[np.ndarray]:
        """Lesion probability of each image, float32 (H, W) in [0, 1] at its own size; no image
        gives no result. Images are uint8 (H, W) or (H, W, 3), or slices with their neighbours
        (`data.context`) where `preprocessing.context` says so. `batch_size` changes no result.
        """
        ...
