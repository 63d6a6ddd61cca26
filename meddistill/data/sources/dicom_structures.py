"""The structures of segmentations and contours that are asked for, by number or by name: of DICOM's
files, and of 3D Slicer's."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from meddistill.base.errors import InputError, nearest
from meddistill.base.paths import printable, shown
from meddistill.data.findings import plain_name
from meddistill.data.formats.dicom_contours import Structures
from meddistill.data.formats.dicom_segmentations import Segmentation
from meddistill.data.formats.slicer_segments import SlicerSegments
from meddistill.data.masks import FindingValues, Label, Labels
from meddistill.data.raw_case import MaskRef, RawCase
from meddistill.data.sources.source import SourceOptions

STRUCTURES = "structures"
"""The check that a number means one structure in all files, by the name that overrules it."""
_LISTED = 6

OfStructures = Segmentation | Structures | SlicerSegments
"""A file that names what it marks."""


class Asked:
    """Which structures of each file are a mask, or one a finding.

    By numbers (`SourceOptions.labels`), or by names (`SourceOptions.structures`) without regard to
    case, spaces, `_` and `-`. One name that is asked for where all files hold one structure alone
    names that. Raises: InputError for labels that are colours or numbers of none, or that mean other
    structures in other files; for names of none.
    """

    def __init__(
        self, files: Sequence[OfStructures], directory: Path, options: SourceOptions
    ) -> None:
        self._labels = options.labels
        self._spelt = {
            plain_name(name): name
            for each in files
            for name in sorted(set(names_of(each).values()))
        }
        names = options.structures
        if names and len(names) == len(self._spelt) == 1:
            names = None
        self._names: dict[str, str] | None = None
        """What each finding is called by `plain_name`; None where numbers say it."""
        self.notes: list[str] = []
        if not files:
            return
        if names is None:
            self.notes += _check_numbers(files, directory, options)
        else:
            self._names = {plain_name(name): name for name in names} or dict(self._spelt)
            self._check_names()

    def masked(
        self,
        case: RawCase,
        file: OfStructures,
        mask: Callable[[Labels], MaskRef],
    ) -> RawCase:
        """The case with what `mask` makes of the labels that are asked for of the file; as it is where
        the file holds none of the names."""
        if self._names is None:
            return dataclasses.replace(case, mask=mask(self._labels))
        found = self._numbers_by_finding(file)
        if not found:
            return case
        is_one = len(self._names) == 1
        return dataclasses.replace(
            case,
            mask=mask(next(iter(found.values()))) if is_one else None,
            finding_masks=tuple((name, mask(numbers)) for name, numbers in found.items()),
            looked_for=tuple(found),
        )

    def of_contours(self, file: Structures) -> Structures:
        """The file with the contours of the structures alone that are asked for."""
        if self._names is not None:
            by_name = self._numbers_by_finding(file).values()
            wanted = {number for numbers in by_name for number in numbers}
        elif isinstance(self._labels, FindingValues | tuple):
            wanted = set(_values_of(self._labels))
        else:
            return file
        contours = tuple(each for each in file.contours if each.structure in wanted)
        return dataclasses.replace(file, contours=contours)

    def _numbers_by_finding(self, file: OfStructures) -> dict[str, tuple[Label, ...]]:
        found: dict[str, tuple[Label, ...]] = {}
        for number, name in names_of(file).items():
            finding = (self._names or {}).get(plain_name(name))
            if finding is not None:
                found[finding] = (*found.get(finding, ()), float(number))
        return found

    def _check_names(self) -> None:
        lacking = [name for plain, name in (self._names or {}).items() if plain not in self._spelt]
        if lacking and len(lacking) == len(self._names or {}):
            raise InputError(
                f"finding '{lacking[0]}' is the name of no structure"
                f"{nearest(lacking[0], self._spelt.values())}; or choose by number: --findings "
                f"{lacking[0]}=1"
            )
        self.notes += [
            f"finding '{name}' is the name of no structure{nearest(name, self._spelt.values())}"
            for name in lacking
        ]


def names_of(file: OfStructures) -> dict[int, str]:
    """The names of a file's structures by number, fit to name a finding; of contours those of which
    there are any."""
    if not isinstance(file, Structures):
        return {number: _fit(name) for number, name in file.segments.items()}
    drawn = {each.structure for each in file.contours}
    return {number: _fit(name) for number, name in file.names if number in drawn}


def _fit(name: str) -> str:
    return " ".join(re.split(r"[;,=\s]+", printable(name))).strip()


def _check_numbers(
    files: Sequence[OfStructures], directory: Path, options: SourceOptions
) -> list[str]:
    """What is said of numbers that no structure has. Raises: InputError for labels that mean none, or
    several."""
    listed = sorted({item for each in files for item in names_of(each).items()})
    told = ", ".join(f"{number} {name}" for number, name in listed[:_LISTED])
    told += ", ..." if len(listed) > _LISTED else ""
    values = list(dict.fromkeys(_values_of(options.labels)))
    if any(isinstance(value, tuple) for value in values):
        raise InputError(
            f"colours mean no structure of segmentations and contours; choose by number: {told}"
        )
    known = {number for number, _ in listed}
    lacking = [f"{value:g}" for value in values if value not in known] if listed else []
    if lacking and len(lacking) == len(values):
        raise InputError(f"no structure has the number {lacking[0]}; choose from {told}")
    for number in sorted(number for number in known if number in values):
        _check_one_name(number, files, directory, options)
    return [f"no structure has the number {value}; there are {told}" for value in lacking]


def _check_one_name(
    number: int,
    files: Sequence[OfStructures],
    directory: Path,
    options: SourceOptions,
) -> None:
    """Raises: InputError where a number means several structures."""
    named: dict[str, tuple[str, Path]] = {}
    for each in files:
        if name := names_of(each).get(number):
            named.setdefault(plain_name(name), (name, each.path))
    if len(named) > 1 and STRUCTURES not in options.accept:
        first = list(named.values())[:3]
        means = ", ".join(f"'{name}' in {shown(path, directory)}" for name, path in first)
        raise InputError(
            f"structure {number} is {means}: choose by name, such as --findings "
            f"'{','.join(name for name, _ in first)}'; --accept {STRUCTURES} takes the number all the same"
        )


def _values_of(labels: Labels) -> list[Label]:
    if isinstance(labels, FindingValues):
        return [value for values in labels.values for value in values]
    return list(labels) if isinstance(labels, tuple) else []
