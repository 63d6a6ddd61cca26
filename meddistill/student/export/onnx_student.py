"""An exported student at work with ONNX Runtime. Imports no torch, so that it starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.cores import cores_of_quota
from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json
from meddistill.base.hashing import sha256_file
from meddistill.data.context import as_seen
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
        results: list[np.ndarray] = []
        start = 0
        while start < len(images):
            stop = start + 1
            size = images[start].shape[:2]
            while stop < min(len(images), start + batch_size) and images[stop].shape[:2] == size:
                stop += 1
            probs = self._student.predict_probs(
                np.stack([self._input(x) for x in images[start:stop]])
            )
            one = self.preprocessing.findings.is_one
            results += [each[0] if one else each for each in probs]
            start = stop
        return results

    def _input(self, image: np.ndarray) -> np.ndarray:
        context = self.preprocessing.context
        return np.moveaxis(as_seen(image, context), 2, 0) if context else _rgb(image)


def _rgb(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) as (3, H, W)."""
    if image.ndim == 2:
        return np.repeat(image[None], 3, axis=0)
    return np.moveaxis(image, 2, 0)


def import_extra(name: str) -> Any:
    """A module of the extra `onnx`. Raises: ConfigError where it is not installed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            f"ONNX needs {name.split('.')[0]}: pip install 'meddistill[onnx]'"
        ) from None
