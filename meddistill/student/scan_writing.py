"""All files that are written of one predicted scan."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.base.hashing import sha256_file
from meddistill.data.formats.known_mask_writers import MASK_WRITERS
from meddistill.data.formats.pictures import write_png
from meddistill.data.formats.series_mask_writer import SEGMENTATION
from meddistill.data.overlays import overlay, with_legend
from meddistill.student.predicted_journal import Done
from meddistill.student.prediction_job import PredictOptions
from meddistill.student.predictions_table import PredictedScan, PredictionRow
from meddistill.student.review_sheet import write_pictures

MASKS, PROBABILITIES, OVERLAYS = "masks", "probabilities", "overlays"


def write_scan(predicted: PredictedScan, stamp: str, out: Path, options: PredictOptions) -> Done:
    """Write all that is asked of one scan. Raises: InputError where that cannot be written."""
    name, scan, writer = predicted.name, predicted.scan, MASK_WRITERS[predicted.scan.kind]
    directory, findings = out / MASKS, predicted.findings
    try:
        masks = writer.write_masks(directory, name, scan, predicted.masks, findings)
        written = [*masks]
        if (beside := directory / f"{name}{SEGMENTATION}").is_file():
            written.append(beside)
        if options.probabilities:
            for place, finding in enumerate(findings.names):
                directory = out / PROBABILITIES
                if not findings.is_one:  # a folder a finding
                    directory = directory / re.sub(r"[^\w .-]", "_", finding)
                maps = [prob[place] for prob in predicted.probs]
                written += writer.write_probs(directory, name, scan, maps)
    except OSError as error:
        raise InputError(f"{directory} cannot be written: {error.strerror or error}") from error
    if options.overlays:
        written += _write_overlays(out / OVERLAYS, predicted)
    if options.review_sheet:
        written += write_pictures(out, predicted)
    rows = [
        PredictionRow.of(predicted, index, path.relative_to(out).as_posix(), place)
        for index, path in enumerate(masks)
        for place in range(len(findings))
    ]
    hashes = {path.relative_to(out).as_posix(): sha256_file(path) for path in set(written)}
    return Done(name, stamp, [dataclasses.asdict(row) for row in rows], hashes)


def _write_overlays(directory: Path, predicted: PredictedScan) -> list[Path]:
    name, scan = predicted.name, predicted.scan
    written = []
    for index, (image, mask) in enumerate(zip(scan.images, predicted.masks, strict=True)):
        rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
        # Of many slices only those with a lesion: hundreds of others would hide them.
        if mask.any() or not scan.is_stack:
            picture = overlay(rgb, mask, predicted.findings.colours)
            there = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
            picture = with_legend(picture, predicted.findings, there)
            written.append(directory / f"{scan.slice_name(name, index)}.png")
            write_png(written[-1], picture)
    return written
