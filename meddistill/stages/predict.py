"""`meddistill predict`: a student's masks of new images, with a table of what was found."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from meddistill.base import console
from meddistill.base.csv_tables import write_table
from meddistill.base.errors import ConfigError, InputError
from meddistill.data.case_ids import unique_names
from meddistill.data.findings import as_planes
from meddistill.data.formats.known_mask_writers import MASK_WRITERS
from meddistill.data.formats.pictures import write_png
from meddistill.data.overlays import overlay
from meddistill.data.scans import Scan, find_scans, read_scan, scan_name
from meddistill.run.layout import (
    CONFIG_JSON,
    MODEL_SAFETENSORS,
    PREDICTIONS_CSV,
    PREPROCESSING_JSON,
)
from meddistill.run.record import Stage, fingerprint_file
from meddistill.student.predictions_table import PredictedScan, PredictionRow
from meddistill.student.predictor import Predictor

MASKS, PROBABILITIES, OVERLAYS = "masks", "probabilities", "overlays"


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """What is predicted and written.

    `threshold`: probability from which a pixel is lesion; None takes the student's. `probabilities`
    adds probability maps, `overlays` the mask on its image. `batch_size`: slices a forward pass;
    changes no result.
    """

    threshold: float | None = None
    probabilities: bool = False
    overlays: bool = False
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold must lie in [0, 1], got {self.threshold}")


_MASKS_ALONE = PredictOptions()


def run_predict(
    student_dir: Path,
    patterns: Sequence[str],
    out: Path,
    options: PredictOptions = _MASKS_ALONE,
    *,
    device: str = "cpu",
    overwrite: bool = False,
    predictor: Predictor | None = None,
) -> Path:
    """Segment files, folders and globs; returns `out` with masks/ and predictions.csv.

    Each kind of file has its own mask writer: a NIfTI volume's masks are a volume that lies where
    it does. Of a volume only slices with a lesion get an overlay.

    Args:
        student_dir: the directory of the student.
        patterns: files, folders and globs.
        out: the directory to write.
        options: what is predicted and written.
        device: where the student runs.
        overwrite: replace what `out` holds of another prediction.
        predictor: stands in for the student that would be loaded.

    Raises: InputError at the end, when all others are done, where a file could not be read.
    """
    files, failures = _find(patterns)
    stage = _open(out, student_dir, files, options, overwrite)
    if stage.finished and not failures:
        console.say(f"{out} is up to date")
        return out
    if predictor is None:
        from meddistill.student.student import load_student

        predictor = load_student(student_dir, device)
    rows: list[PredictionRow] = []
    with console.progress("predict", len(files)) as bar:
        for predicted in _predictions(files, predictor, options, failures):
            rows += _write(predicted, out, options)
            bar.advance()
            bar.note(f"{len(failures)} failed" if failures else "")
    write_table(out / PREDICTIONS_CSV, PredictionRow, rows)
    images = len({(row.source, row.slice) for row in rows})
    found = len({(row.source, row.slice) for row in rows if row.area_px > 0})
    console.say(f"{found} of {images} image(s) have a lesion; table: {out / PREDICTIONS_CSV}")
    if failures:
        done = len({row.source for row in rows})
        raise InputError(
            f"{len(failures)} input(s) could not be predicted, {done} file(s) were; first: "
            f"{failures[0]}"
        )
    stage.finish({"images": images, "with_lesion": found}, [out / PREDICTIONS_CSV], device)
    return out


def _find(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files meant, and a line for each pattern that means none."""
    files, failures = find_scans(patterns)
    for failure in failures:
        console.warn(failure)
    if not files:
        raise InputError(f"nothing to predict: {failures[0] if failures else 'no path was given'}")
    return files, failures


def _open(
    out: Path, student_dir: Path, files: Sequence[Path], options: PredictOptions, overwrite: bool
) -> Stage:
    settings = dataclasses.asdict(options)
    del settings["batch_size"]
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
    files: Sequence[Path], predictor: Predictor, options: PredictOptions, failures: list[str]
) -> Iterator[PredictedScan]:
    """Each readable file, several small ones a batch; the others are named in `failures`."""
    stored = predictor.preprocessing
    findings, cuts = stored.findings, stored.cuts
    if options.threshold is not None:
        cuts = (options.threshold,) * len(findings)
    names = unique_names([scan_name(path) for path in files], [str(path) for path in files])
    waiting: list[tuple[str, Scan]] = []
    for index, (path, name) in enumerate(zip(files, names, strict=True)):
        try:
            waiting.append((name, read_scan(path, stored.intensity)))
        except InputError as error:
            failures.append(str(error))
            console.warn(str(error))
        slices = [image for _, scan in waiting for image in scan.images]
        if len(slices) < options.batch_size and index + 1 < len(files):
            continue
        probs = predictor.predict_probs(slices, options.batch_size)
        for done_name, scan in waiting:
            own = [as_planes(prob) for prob in probs[: len(scan.images)]]
            masks = [findings.masks(prob, cuts) for prob in own]
            yield PredictedScan(done_name, scan, own, masks, findings)
            del probs[: len(scan.images)]
        waiting = []


def _write(predicted: PredictedScan, out: Path, options: PredictOptions) -> list[PredictionRow]:
    """Write all that is asked of one file; returns its rows of the table."""
    name, scan, writer = predicted.name, predicted.scan, MASK_WRITERS[predicted.scan.kind]
    directory, findings = out / MASKS, predicted.findings
    try:
        written = writer.write_masks(directory, name, scan, predicted.masks, findings)
        if options.probabilities:
            for place, finding in enumerate(findings.names):
                directory = out / PROBABILITIES
                if not findings.is_one:  # a folder a finding
                    directory = directory / re.sub(r"[^\w .-]", "_", finding)
                maps = [prob[place] for prob in predicted.probs]
                writer.write_probs(directory, name, scan, maps)
    except OSError as error:
        raise InputError(f"{directory} cannot be written: {error.strerror or error}") from error
    if options.overlays:
        _write_overlays(out / OVERLAYS, predicted)
    return [
        PredictionRow.of(predicted, index, path.relative_to(out).as_posix(), place)
        for index, path in enumerate(written)
        for place in range(len(findings))
    ]


def _write_overlays(directory: Path, predicted: PredictedScan) -> None:
    name, scan = predicted.name, predicted.scan
    for index, (image, mask) in enumerate(zip(scan.images, predicted.masks, strict=True)):
        rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
        # Of many slices only those with a lesion: hundreds of others would hide them.
        if mask.any() or not scan.is_stack:
            picture = overlay(rgb, mask, predicted.findings.colours)
            write_png(directory / f"{scan.slice_name(name, index)}.png", picture)
