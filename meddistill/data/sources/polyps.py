"""Polyps in colonoscopy: Kvasir-SEG and CVC-ClinicDB."""

from __future__ import annotations

import csv
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.sources.pairing import by_name, pair
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files


class Kvasir:
    name = "kvasir"
    summary = "images/ID.jpg, masks/ID.jpg and kavsir_bboxes.json (Kvasir-SEG)"
    general = False

    def recognise(self, directory: Path) -> str | None:
        # The set's own spelling is `kavsir`.
        table = any_file(directory, "kavsir_bboxes.json", "kvasir_bboxes.json", depth=2)
        return f"it has {shown(table, directory)}" if table else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        return _two_folders(directory, options, ("images",), ("masks",), {})


class CvcClinicDb:
    name = "cvc-clinicdb"
    summary = (
        "Original/N.tif and Ground Truth/N.tif, or the same as PNG with metadata.csv (CVC-ClinicDB)"
    )
    general = False

    def recognise(self, directory: Path) -> str | None:
        truth = any_file(directory, "Ground Truth", "GroundTruth")
        if truth and any_file(directory, "Original"):
            return f"it has Original/ and {truth.name}/"
        return None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        table = any_file(directory, "metadata.csv")
        sequences = _read_sequences(table) if table else {}
        listing = _two_folders(
            directory, options, ("Original",), ("Ground Truth", "GroundTruth"), sequences
        )
        notes = ["groups are the video sequences of metadata.csv"] if sequences else []
        return Listing(
            listing.cases, listing.rejected, notes, tables=[table] if table and sequences else []
        )


def _two_folders(
    directory: Path,
    options: SourceOptions,
    image_names: tuple[str, ...],
    mask_names: tuple[str, ...],
    groups: dict[str, str],
) -> Listing:
    image_dir, mask_dir = any_file(directory, *image_names), any_file(directory, *mask_names)
    if image_dir is None or mask_dir is None:
        raise InputError(f"{directory} lacks {image_names[0]}/ or {mask_names[0]}/")
    # CVC-ClinicDB holds everything twice, as TIF and as PNG: one of them, the same on both sides.
    if mask_dir.parent != image_dir.parent and (image_dir.parent / mask_dir.name).is_dir():
        mask_dir = image_dir.parent / mask_dir.name
    images, rejected = image_files(image_dir, directory)
    masks, strange = image_files(mask_dir, directory)
    cases, unpaired = pair(
        images,
        by_name(masks, lambda path: path.stem),
        directory,
        options,
        key=lambda path: path.stem,
        group=lambda path: groups.get(path.stem, ""),
    )
    return Listing(cases, [*rejected, *strange, *unpaired])


def _read_sequences(path: Path) -> dict[str, str]:
    """Frame number to video sequence; empty where the table has no such columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV table: {error}") from error
    if not rows or not {"frame_id", "sequence_id"} <= rows[0].keys():
        return {}
    return {row["frame_id"]: f"sequence-{row['sequence_id']}" for row in rows}
