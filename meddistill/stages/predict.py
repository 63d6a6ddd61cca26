"""`meddistill predict`: a student's masks of new images, with a table of what was found."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import write_table
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.case_ids import unique_names
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import Preprocessing
from meddistill.data.overlays import overlay
from meddistill.data.scans import Scan, find_scans, read_scan, scan_name
from meddistill.run.layout import (
    CONFIG_JSON,
    MODEL_SAFETENSORS,
    PREDICTIONS_CSV,
    PREPROCESSING_JSON,
)
from meddistill.run.record import Stage, fingerprint_file

MASKS, PROBABILITIES, OVERLAYS = "masks", "probabilities", "overlays"


class Predictor(Protocol):
    """What predicts; `models.student.Student` is one."""

    preprocessing: Preprocessing

    def predict_probs(
        self, images: Sequence[np.ndarray], batch_size: int = ...
    ) -> list[np.ndarray]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class PredictionRow:
    """What was found on one slice: a row of predictions.csv.

    `slice` counts from 0 (a volume's axial slices, from the feet up) and is empty for a picture.
    `area_mm2` is empty where the pixels' size is not known. `components`: 8-connected parts of the
    mask. `confidence` in [0, 1]: mean probability of the mask's pixels; of an empty mask, 1 minus
    the highest probability anywhere. `mask`: the file that holds it, relative to the table.
    """

    name: str
    source: str
    slice: int | None
    width: int
    height: int
    area_px: int
    area_mm2: float | None
    components: int
    confidence: float
    mask: str


def run_predict(
    student_dir: Path,
    patterns: Sequence[str],
    out: Path,
    *,
    threshold: float | None = None,
    probabilities: bool = False,
    overlays: bool = False,
    batch_size: int = 16,
    device: str = "cpu",
    overwrite: bool = False,
    predictor: Predictor | None = None,
) -> Path:
    """Segment files, folders and globs; returns `out` with masks/NAME.png and predictions.csv.

    `threshold`: probability from which a pixel is lesion; None takes the student's. `probabilities`
    adds 16-bit PNGs (0 to 65535 for 0 to 1), `overlays` the mask on its image. Masks and
    probabilities (float32) of a NIfTI volume are volumes that lie where it does; its overlays are
    those of slices with a lesion. Raises: InputError at the end, when all others are done, where a
    file could not be read.
    """
    files, failures = find_scans(patterns)
    for failure in failures:
        console.warn(failure)
    if not files:
        raise InputError(f"nothing to predict: {failures[0] if failures else 'no path was given'}")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold must lie in [0, 1], got {threshold}")
    stage = _open(out, student_dir, files, threshold, probabilities, overlays, overwrite)
    if stage.finished and not failures:
        console.say(f"{out} is up to date")
        return out
    if predictor is None:
        from meddistill.student.student import load_student

        predictor = load_student(student_dir, device)
    cut = np.float32(predictor.preprocessing.threshold if threshold is None else threshold)
    names = unique_names([scan_name(path) for path in files], [str(path) for path in files])

    rows: list[PredictionRow] = []
    with console.progress("predict", len(files)) as bar:
        for name, scan, probs in _predictions(files, names, predictor, batch_size, failures):
            masks = [prob >= cut for prob in probs]
            written = _write_maps(
                out / MASKS, name, scan, [mask.astype(np.uint8) * 255 for mask in masks]
            )
            if probabilities:
                maps = (
                    probs
                    if scan.kind == "volume"
                    else [np.rint(prob * 65535).astype(np.uint16) for prob in probs]
                )
                _write_maps(out / PROBABILITIES, name, scan, maps)
            if overlays:
                _write_overlays(out / OVERLAYS, name, scan, masks)
            rows += _rows(
                name, scan, masks, probs, [path.relative_to(out).as_posix() for path in written]
            )
            bar.advance()
            bar.note(f"{len(failures)} failed" if failures else "")
    write_table(out / PREDICTIONS_CSV, PredictionRow, rows)
    found = sum(row.area_px > 0 for row in rows)
    console.say(f"{found} of {len(rows)} image(s) have a lesion; table: {out / PREDICTIONS_CSV}")
    if failures:
        done = len({row.source for row in rows})
        raise InputError(
            f"{len(failures)} input(s) could not be predicted, {done} file(s) were; first: "
            f"{failures[0]}"
        )
    stage.finish({"images": len(rows), "with_lesion": found}, [out / PREDICTIONS_CSV], device)
    return out


def _open(
    out: Path,
    student_dir: Path,
    files: Sequence[Path],
    threshold: float | None,
    probabilities: bool,
    overlays: bool,
    overwrite: bool,
) -> Stage:
    settings = {"threshold": threshold, "probabilities": probabilities, "overlays": overlays}
    inputs = {str(path): _stamp(path) for path in files}
    for name in (CONFIG_JSON, MODEL_SAFETENSORS, PREPROCESSING_JSON):
        inputs[f"student/{name}"] = (
            fingerprint_file(student_dir / name) if (student_dir / name).is_file() else ""
        )
    return Stage.open(out, "predict", settings, inputs, overwrite)


def _stamp(path: Path) -> str:
    # Thousands of volumes are not read twice just to see whether they are the same.
    status = os.stat(path)
    return f"{status.st_size} bytes of {status.st_mtime_ns}"


def _predictions(
    files: Sequence[Path],
    names: Sequence[str],
    predictor: Predictor,
    batch_size: int,
    failures: list[str],
) -> Iterator[tuple[str, Scan, list[np.ndarray]]]:
    """Each readable file with its slices and their probabilities, several small files a batch;
    others are named."""
    waiting: list[tuple[str, Scan]] = []
    for index, (path, name) in enumerate(zip(files, names, strict=True)):
        try:
            waiting.append((name, read_scan(path, predictor.preprocessing.intensity)))
        except InputError as error:
            failures.append(str(error))
            console.warn(str(error))
        slices = [image for _, scan in waiting for image in scan.images]
        if len(slices) < batch_size and index + 1 < len(files):
            continue
        probs = predictor.predict_probs(slices, batch_size)
        for done_name, scan in waiting:
            yield done_name, scan, probs[: len(scan.images)]
            del probs[: len(scan.images)]
        waiting = []


def _write_maps(directory: Path, name: str, scan: Scan, maps: Sequence[np.ndarray]) -> list[Path]:
    """Write the maps of a scan; returns the file of each slice."""
    try:
        if scan.kind == "volume":
            path = directory / f"{name}.nii.gz"
            scan.write_volume(path, maps)
            return [path] * len(maps)
        paths = [directory / f"{name}{_suffix(scan, index)}.png" for index in range(len(maps))]
        for path, each in zip(paths, maps, strict=True):
            write_png(path, each)
        return paths
    except OSError as error:
        raise InputError(f"{directory} cannot be written: {error.strerror or error}") from error


def _suffix(scan: Scan, index: int) -> str:
    # No two names become equal by it: `unique_names` leaves no `@`.
    return "" if scan.kind == "picture" else f"@{index:04d}"


def _write_overlays(directory: Path, name: str, scan: Scan, masks: Sequence[np.ndarray]) -> None:
    for index, (image, mask) in enumerate(zip(scan.images, masks, strict=True)):
        rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
        # Of many slices only those with a lesion: hundreds of others would hide them.
        if scan.kind == "picture" or mask.any():
            write_png(directory / f"{name}{_suffix(scan, index)}.png", overlay(rgb, mask))


def _rows(
    name: str,
    scan: Scan,
    masks: Sequence[np.ndarray],
    probs: Sequence[np.ndarray],
    mask_files: Sequence[str],
) -> Iterator[PredictionRow]:
    for index, (mask, prob) in enumerate(zip(masks, probs, strict=True)):
        area = int(mask.sum())
        pixel_mm2 = (
            None if scan.spacing_hw_mm is None else scan.spacing_hw_mm[0] * scan.spacing_hw_mm[1]
        )
        yield PredictionRow(
            name=name,
            source=str(scan.path),
            slice=None if scan.kind == "picture" else index,
            width=mask.shape[1],
            height=mask.shape[0],
            area_px=area,
            area_mm2=None if pixel_mm2 is None else round(area * pixel_mm2, 3),
            components=len(mask_to_boxes(mask)),
            confidence=round(float(prob[mask].mean() if area else 1 - prob.max()), 4),
            mask=mask_files[index],
        )
