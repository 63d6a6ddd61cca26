"""DICOM images of one series as slices of a volume, in the order of where they lie."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.formats.dicom import DicomImage, Header
from meddistill.data.formats.dicom_series import Series, series_in
from meddistill.data.raw_case import RawCase


def in_series(
    cases: Sequence[RawCase], headers: Mapping[Path, Header], directory: Path
) -> tuple[list[RawCase], list[str]]:
    """The cases, those of a series as its slices and in their order, the others as they are and
    where they were; and what is said of it. Slices that share their places (phases, echoes) are no
    volume.

    Args:
        cases: of the images.
        headers: of all images of the source.
        directory: the source folder.
    """
    every = series_in(headers)
    notes = [_uneven(each, directory) for each in every if each.why_uneven]
    volumes = [each for each in every if not _share_places(each)]
    folders = Counter(_folder(each, directory) for each in volumes)
    place_of: dict[tuple[Path, int], tuple[int, int]] = {}
    names: list[str] = []
    seen: Counter[str] = Counter()
    for number, each in enumerate(volumes):
        folder = _folder(each, directory)
        seen[folder] += 1
        names.append(f"{folder}#{seen[folder]}" if folders[folder] > 1 else folder)
        for index, frame in enumerate(each.frames):
            place_of[frame.path, frame.frame] = number, index
    slices: dict[int, list[RawCase]] = {}
    kept: list[RawCase | int] = []  # a number stands for all slices of that volume
    for case in cases:
        assert isinstance(case.image, DicomImage)
        found = place_of.get((case.image.path, case.image.frame))
        if found is None:
            kept.append(case)
            continue
        number, index = found
        if number not in slices:
            kept.append(number)
        slices.setdefault(number, []).append(
            dataclasses.replace(
                case,
                volume=names[number],
                slice=index,
                slice_mm=volumes[number].slice_mm,
                is_slice=True,
                whole=True,
            )
        )
    ordered: list[RawCase] = []
    for item in kept:
        if isinstance(item, RawCase):
            ordered.append(item)
        else:
            ordered += sorted(slices[item], key=lambda case: case.slice or 0)
    if slices:
        count = sum(map(len, slices.values()))
        notes.insert(
            0, f"{len(slices)} series are volumes, of {count} slices, by their places in mm"
        )
    return ordered, notes


def _uneven(series: Series, directory: Path) -> str:
    # With its folder: scanners give the same names in each.
    return f"the series of {shown(series.frames[0].path, directory)} {series.why_uneven}"


def _share_places(series: Series) -> bool:
    return "at the place of another" in series.why_uneven


def _folder(series: Series, directory: Path) -> str:
    return shown(series.frames[0].path.parent, directory)
