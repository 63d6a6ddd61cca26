"""Pictures that are the slices of volumes, by the columns `volume`, `slice` and `spacing` of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from meddistill.base.errors import InputError, why_rejected
from meddistill.data.formats.box_columns import (
    SLICE_COLUMNS,
    SPACING_COLUMNS,
    VOLUME_COLUMNS,
    first_of,
    read_spacing,
)
from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.raw_case import RawCase
from meddistill.run.tables import Rejected


def stacked(cases: Sequence[RawCase]) -> tuple[list[RawCase], list[Rejected]]:
    """The cases, those that a table ties to a volume as slices of it; and those whose columns say
    nothing that can be read, or a slice that another case is."""
    kept: list[RawCase] = []
    rejected: list[Rejected] = []
    taken: dict[tuple[str, int], str] = {}
    for case in cases:
        try:
            case = _placed(case)
            if case.volume and case.slice is not None:
                first = taken.setdefault((case.volume, case.slice), case.source)
                if first != case.source:
                    raise InputError(
                        f"slice {case.slice} of volume '{case.volume}' is {first}, too"
                    )
            kept.append(case)
        except InputError as error:
            rejected.append(Rejected(case.source, why_rejected(error)))
    return kept, rejected


def _placed(case: RawCase) -> RawCase:
    if case.volume or not case.columns:
        return case
    image, spacing = case.image, read_spacing(_cell(case.columns, SPACING_COLUMNS))
    if spacing is not None and isinstance(image, ImageFile):
        image = dataclasses.replace(image, spacing_hw_mm=spacing[:2])
    volume, number = (_cell(case.columns, names) for names in (VOLUME_COLUMNS, SLICE_COLUMNS))
    if not volume or not number:
        return dataclasses.replace(case, image=image)
    try:
        index = int(number)
    except ValueError:
        raise InputError(f"its slice is '{number}', expected a whole number") from None
    return dataclasses.replace(
        case,
        image=image,
        volume=volume,
        slice=index,
        slice_mm=spacing[2] if spacing is not None else None,
        is_slice=True,
        whole=True,
    )


def _cell(columns: Mapping[str, str], names: Sequence[str]) -> str:
    header = list(columns)
    place = first_of(header, names)
    return "" if place is None else columns[header[place]].strip()
