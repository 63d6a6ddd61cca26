"""What `predict` and `eval` need of a student: a stand-in with these two serves as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from meddistill.data.preprocessing import Preprocessing
from meddistill.student.trust.input_checks import input_doubts
from meddistill.student.trust.reading import Seen
from meddistill.student.trust.trust import Trust


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


@runtime_checkable
class KnowsItself(Protocol):
    """A predictor that says something of its own answers, where `trust` is there."""

    trust: Trust | None

    def look(self, images: Sequence[np.ndarray], batch_size: int = ...) -> list[Seen]:
        """As `predict_probs`, with a reading of each answer."""
        ...

    def calibrated(self, probs: np.ndarray) -> np.ndarray:
        """What probabilities of `predict_probs` mean, of the same shape."""
        ...


def knows_itself(predictor: Predictor) -> bool:
    """Whether it says anything of its own answers."""
    return isinstance(predictor, KnowsItself) and predictor.trust is not None


def look_at(predictor: Predictor, images: Sequence[np.ndarray], batch_size: int = 16) -> list[Seen]:
    """What the predictor makes of each image, with a reading where it knows itself."""
    if isinstance(predictor, KnowsItself) and predictor.trust is not None:
        return predictor.look(images, batch_size)
    return [Seen(probs) for probs in predictor.predict_probs(images, batch_size)]


def calibrated(predictor: Predictor, probs: np.ndarray) -> np.ndarray:
    """Probabilities of `predict_probs` as they are meant; unchanged where nobody knows."""
    return predictor.calibrated(probs) if isinstance(predictor, KnowsItself) else probs


def doubts_of(predictor: Predictor, image: np.ndarray) -> list[str]:
    """What is odd about an image, uint8 (H, W) or (H, W, 3), beside those it learned from."""
    trust = predictor.trust if isinstance(predictor, KnowsItself) else None
    if trust is None or trust.inputs is None:
        return []
    return input_doubts(image, trust.inputs)
