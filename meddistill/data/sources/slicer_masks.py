"""Masks of volumes out of segmentations of 3D Slicer, whose headers name the segments: a number may
mean another one in each file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.data.findings import plain_name
from meddistill.data.formats.slicer_segments import SlicerSegments, segments_of
from meddistill.data.formats.volume_slices import MaskSlice
from meddistill.data.masks import FindingValues, Labels
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.dicom_structures import Asked, names_of
from meddistill.data.sources.source import NamedSegments, SourceOptions


@dataclasses.dataclass(frozen=True)
class Segmented:
    """The cases with the segments that are asked for, and `notes` for the terminal. `named`: what the
    headers of all their masks name; None where some name nothing, or there are none."""

    cases: list[RawCase]
    notes: Sequence[str] = ()
    named: NamedSegments | None = None


def with_segments(cases: Sequence[RawCase], directory: Path, options: SourceOptions) -> Segmented:
    """The slices of volumes with the segments that are asked for by name (`SourceOptions.structures`),
    whatever numbers they have in each file; as they are where numbers are asked for.

    Raises: InputError as `Asked`, such as for a number that means other segments in other files.
    """
    files, count = _read(cases)
    if not files:
        return Segmented(list(cases))
    every = len(files) == count
    by_name = _are_asked_by_name(list(files.values()), cases, options.structures)
    if not by_name:
        told = [each for each in files.values() if every or _has_any(each, options.labels)]
        asked = Asked(told, directory, dataclasses.replace(options, structures=None))
        named = _named(files.values())
        notes = asked.notes if every else []
        if options.labels is None and len(named.counts) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in named.counts.items())
            notes = [f"masks name the segments {listed}: --findings auto tells them apart", *notes]
        return Segmented(list(cases), notes, named if every else None)
    asked = Asked(list(files.values()), directory, options)
    found = [_of_segments(case, files, asked) for case in cases]
    return Segmented(found, asked.notes, _named(files.values()) if every else None)


def _read(cases: Sequence[RawCase]) -> tuple[dict[Path, SlicerSegments], int]:
    """The masks that name segments, by their path, and how many masks there are in all."""
    paths = dict.fromkeys(case.mask.path for case in cases if isinstance(case.mask, MaskSlice))
    found = {}
    for path in paths:
        try:
            if segments := segments_of(path):
                found[path] = segments
        except InputError:
            continue  # reading it says why
    return found, len(paths)


def _are_asked_by_name(
    files: Sequence[SlicerSegments], cases: Sequence[RawCase], names: Sequence[str] | None
) -> bool:
    """Not where a name that no file knows is the one of boxes, or asked for of files of one segment each:
    it is that one."""
    if not names:
        return names is not None
    known = {plain_name(name) for file in files for name in names_of(file).values()}
    if not known.isdisjoint(map(plain_name, names)):
        return True
    single = all(len(file.segments) == 1 for file in files) and len(names) == 1
    return not single and all(case.boxes_xyxy_px is None for case in cases)


def _has_any(file: SlicerSegments, labels: Labels) -> bool:
    values = labels.values if isinstance(labels, FindingValues) else (labels,)
    return any(
        number in file.segments for each in values if isinstance(each, tuple) for number in each
    )


def _of_segments(case: RawCase, files: Mapping[Path, SlicerSegments], asked: Asked) -> RawCase:
    whole = case.mask
    if not isinstance(whole, MaskSlice) or whole.path not in files:
        return case

    def mask(labels: Labels) -> MaskSlice:
        return dataclasses.replace(whole, labels=labels, together=(whole.path,))

    found = asked.masked(dataclasses.replace(case, mask=None), files[whole.path], mask)
    is_boxed = case.boxes_xyxy_px is not None or case.unannotated
    # What boxes were drawn of was looked for, whatever a mask beside them names.
    return dataclasses.replace(found, looked_for=case.looked_for) if is_boxed else found


def _named(files: Iterable[SlicerSegments]) -> NamedSegments:
    counts: dict[str, int] = {}
    spelt: dict[str, str] = {}
    for file in files:
        for name in dict.fromkeys(names_of(file).values()):
            same = spelt.setdefault(plain_name(name), name)
            counts[same] = counts.get(same, 0) + 1
    return NamedSegments(counts, any(file.layered for file in files))
