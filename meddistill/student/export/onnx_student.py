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
from meddistill.data.tiles import see_in_tiles
from meddistill.run.layout import MODEL_SAFETENSORS, PREPROCESSING_JSON, TRUST_JSON
from meddistill.student.preprocessing_file import read_preprocessing
from meddistill.student.trust.reading import NUMBERS, Reading, Seen, check_finite, readings_of
from meddistill.student.trust.trust import load_trust

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

    @property
    def knows_itself(self) -> bool:
        """Whether the graph gives `NUMBERS` besides."""
        return NUMBERS[0] in {output.name for output in self._session.get_outputs()}

    def read(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `predict_probs`; familiarity (B,); and (B, C, 4) the other `NUMBERS`."""
        probs, familiarity, *others = self._session.run(
            ["probability", *NUMBERS], {"image": images}
        )
        return np.asarray(probs), np.asarray(familiarity), np.stack(others, axis=-1)


class OnnxPredictor:
    """A `Predictor` of the file that `meddistill export STUDENT` left beside a student."""

    def __init__(self, directory: Path, threads: int | None = None) -> None:
        """Raises: InputError where there is no such file, or it was made of other weights or of another
        calibration."""
        path = directory / ONNX_FILE
        if not path.is_file():
            raise InputError(f"{directory} has no {ONNX_FILE}; run `meddistill export {directory}`")
        about = path.with_name(f"{path.name}.json")
        weights = directory / MODEL_SAFETENSORS
        for key, beside in (("student_sha256", weights), ("trust_sha256", directory / TRUST_JSON)):
            made_of = read_json(about).get(key) if about.is_file() else None
            if made_of is not None and beside.is_file() and made_of != sha256_file(beside):
                raise _outdated(path, beside)
        self.preprocessing = read_preprocessing(directory / PREPROCESSING_JSON)
        self._student = OnnxStudent(path, threads)
        trust = directory / TRUST_JSON
        # Of tiles nothing is said, whatever lies beside.
        if trust.is_file() and not (self._student.knows_itself or self.preprocessing.tiled):
            raise _outdated(path, trust)
        self.trust = load_trust(directory) if self._student.knows_itself else None

    def predict_probs(self, images: Sequence[np.ndarray], batch_size: int = 16) -> list[np.ndarray]:
        """As `Student.predict_probs`; those of one size that follow each other go in together."""
        return [seen.probs for seen in self.look(images, batch_size)]

    def calibrated(self, probs: np.ndarray) -> np.ndarray:
        """As `Student.calibrated`."""
        return probs if self.trust is None else self.trust.calibrated(probs)

    def look(self, images: Sequence[np.ndarray], batch_size: int = 16) -> list[Seen]:
        """As `Student.look`; readings are the graph's own."""
        if self.preprocessing.tiled:
            side = self.preprocessing.image_size

            def see(tiles: Sequence[np.ndarray]) -> list[np.ndarray]:
                return [seen.probs for seen in self._see(tiles, batch_size)]

            whole = [see_in_tiles(self._input(image), side, see, batch_size) for image in images]
            results = [Seen(probs) for probs in whole]
        else:
            results = self._see(images, batch_size)
        if not self.preprocessing.findings.is_one:
            return results
        return [Seen(seen.probs[0], seen.reading) for seen in results]

    def _see(self, images: Sequence[np.ndarray], batch_size: int) -> list[Seen]:
        """Probabilities (C, H, W) of whole images, and what is said of each."""
        results: list[Seen] = []
        start = 0
        while start < len(images):
            stop = start + 1
            size = images[start].shape[:2]
            while stop < min(len(images), start + batch_size) and images[stop].shape[:2] == size:
                stop += 1
            batch = np.stack([np.moveaxis(self._input(x), 2, 0) for x in images[start:stop]])
            readings: Sequence[Reading | None] = [None] * len(batch)
            if self.trust is None:
                probs = self._student.predict_probs(batch)
            else:
                probs, familiarity, numbers = self._student.read(batch)
                cuts = [of.present_cut for of in self.trust.findings]
                least = self.trust.least_familiarity
                readings = readings_of(familiarity, numbers, cuts, None, least)
            check_finite(probs)
            results += [Seen(*each) for each in zip(probs, readings, strict=True)]
            start = stop
        return results

    def _input(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, C)."""
        context = self.preprocessing.context
        return as_seen(image, context) if context else _as_rgb(image)


def outdated_files(directory: Path) -> list[Path]:
    """Exported files beside a student that say of themselves something else than the student does
    now; those of 8 bits and of other formats say nothing."""
    trust = directory / TRUST_JSON
    now = sha256_file(trust) if trust.is_file() else None
    abouts = {path: read_json(path) for path in sorted(directory.glob("*.onnx.json"))}
    return [
        path.with_suffix("")
        for path, about in abouts.items()
        if path.with_suffix("").is_file()
        and isinstance(about, dict)  # else it is somebody's own file
        and about.get("weights") != "int8"
        and about.get("trust_sha256") != now
    ]


def _outdated(path: Path, beside: Path) -> InputError:
    return InputError(
        f"{path} was made of another {beside.name} than lies beside it; run `meddistill export "
        f"{path.parent} --overwrite`"
    )


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
