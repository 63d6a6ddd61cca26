"""All files that are written of one predicted scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.base.hashing import sha256_file
from meddistill.data.findings import Findings, folder_name
from meddistill.data.formats.known_mask_writers import MASK_WRITERS
from meddistill.data.formats.pictures import write_png
from meddistill.data.formats.series_mask_writer import SEGMENTATION
from meddistill.data.overlays import overlay, with_legend
from meddistill.student.predicted_journal import Done, path_of
from meddistill.student.prediction_job import PredictOptions
from meddistill.student.predictions_table import PredictedScan, PredictionRow
from meddistill.student.review_sheet import write_pictures

MASKS, PROBABILITIES, OVERLAYS = "masks", "probabilities", "overlays"


def write_scan(predicted: PredictedScan, stamp: str, out: Path, options: PredictOptions) -> Done:
    """Write all that is asked of one scan. Raises: InputError where that cannot be written."""
    name, scan, writer = predicted.name, predicted.scan, MASK_WRITERS[predicted.scan.kind]
    findings = predicted.findings
    try:
        masks, written = _write_masks(predicted, out / MASKS)
        if options.probabilities:
            folders = folders_of(out / PROBABILITIES, findings)
            for place, directory in enumerate(folders):
                maps = [prob[place] for prob in predicted.probs]
                written += writer.write_probs(directory, name, scan, maps)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from error
    if options.overlays:
        written += _write_overlays(out / OVERLAYS, predicted)
    if options.review_sheet:
        written += write_pictures(out, predicted)
    rows = [
        PredictionRow.of(predicted, index, files[index].relative_to(out).as_posix(), place)
        for index in range(len(scan.images))
        for place, files in enumerate(masks)
    ]
    hashes = {path.relative_to(out).as_posix(): sha256_file(path) for path in set(written)}
    asdicts = [dataclasses.asdict(row) for row in rows]
    return Done(name, stamp, asdicts, hashes, path_of(scan.path))


def folders_of(directory: Path, findings: Findings) -> list[Path]:
    """A folder a finding, where there are several."""
    if findings.is_one:
        return [directory]
    return [directory / folder_name(name) for name in findings.names]


def _write_masks(
    predicted: PredictedScan, directory: Path
) -> tuple[Sequence[Sequence[Path]], list[Path]]:
    """The file of each slice's mask by finding, and all files that were written: a label map of
    all, or where findings may overlap a mask of each in a folder of its own."""
    name, scan, findings = predicted.name, predicted.scan, predicted.findings
    writer = MASK_WRITERS[scan.kind]
    if findings.is_one or findings.exclusive:
        folders, parts = [directory], [(findings, predicted.masks)]
    else:
        folders = folders_of(directory, findings)
        parts = [
            (findings.alone(each), [mask[place] for mask in predicted.masks])
            for place, each in enumerate(findings.names)
        ]
    files, written = [], []
    for folder, (own, masks) in zip(folders, parts, strict=True):
        files.append(writer.write_masks(folder, name, scan, masks, own))
        written += files[-1]
        if (beside := folder / f"{name}{SEGMENTATION}").is_file():
            written.append(beside)
    return (files if len(files) > 1 else files * len(findings)), written


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
