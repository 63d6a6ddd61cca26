"""An exported student at work with ONNX Runtime. Imports no torch, so that it starts at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.cores import cores_of_quota
from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json
from meddistill.base.hashing import sha256_file
from meddistill.data.context import as_seen
from meddistill.data.tiles import see_in_tiles
from meddistill.run.layout import MODEL_SAFETENSORS, PREPROCESSING_JSON
from meddistill.student.preprocessing_file import read_preprocessing

ONNX_FILE = "student.onnx"


class OnnxStudent:
    """An exported student at work, as any program would run it: uint8 images in, probabilities
    out.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        onnxruntime = import_extra("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is None:
            threads = cores_of_quota()  # ONNX Runtime sees affinity itself, a quota not
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def predict_probs(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (B, 3, H, W) RGB to probabilities float32 (B, C, H, W)."""
        return np.asarray(self._session.run(["probability"], {"image": images})[0])


class OnnxPredictor:
    """A `Predictor` of the file that `meddistill export STUDENT` left beside a student."""

    def __init__(self, directory: Path, threads: int | None = None) -> None:
        """Raises: InputError where there is no such file, or it was made of other weights."""
        path = directory / ONNX_FILE
        if not path.is_file():
            raise InputError(f"{directory} has no {ONNX_FILE}; run `meddistill export {directory}`")
        about = path.with_name(f"{path.name}.json")
        weights = directory / MODEL_SAFETENSORS
        if about.is_file() and weights.is_file():
            made_of = read_json(about).get("student_sha256")
            if made_of is not None and made_of != sha256_file(weights):
                raise InputError(
                    f"{path} was made of other weights than those beside it; run `meddistill export "
                    f"{directory} --overwrite`"
                )
        self.preprocessing = read_preprocessing(directory / PREPROCESSING_JSON)
        self._student = OnnxStudent(path, threads)

    def predict_probs(self, images: Sequence[np.ndarray], batch_size: int = 16) -> list[np.ndarray]:
        """As `Student.predict_probs`; those of one size that follow each other go in together."""
        if not self.preprocessing.tiled:
            results = self._see(images, batch_size)
        else:
            side = self.preprocessing.image_size
            see = functools.partial(self._see, batch_size=batch_size)
            results = [see_in_tiles(self._input(image), side, see, batch_size) for image in images]
        return [probs[0] if self.preprocessing.findings.is_one else probs for probs in results]

    def _see(self, images: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
        """Probabilities (C, H, W) of whole images."""
        results: list[np.ndarray] = []
        start = 0
        while start < len(images):
            stop = start + 1
            size = images[start].shape[:2]
            while stop < min(len(images), start + batch_size) and images[stop].shape[:2] == size:
                stop += 1
            batch = np.stack([np.moveaxis(self._input(x), 2, 0) for x in images[start:stop]])
            results += list(self._student.predict_probs(batch))
            start = stop
        return results

    def _input(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, C)."""
        context = self.preprocessing.context
        return as_seen(image, context) if context else _as_rgb(image)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) as (H, W, 3)."""
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def import_extra(name: str) -> Any:
    """A module of the extra `onnx`. Raises: ConfigError where it is not installed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            f"ONNX needs {name.split('.')[0]}: pip install 'meddistill[onnx]'"
        ) from None
