"""The structures of DICOM segmentations and contours that are asked for by number or by name."""

from __future__ import annotations

from collections.abc import Sequence

from meddistill.base.errors import InputError
from meddistill.data.formats.dicom_contours import Structures
from meddistill.data.formats.dicom_segmentations import Segmentation
from meddistill.data.masks import FindingValues, Label, Labels

_NAMES = 6


def names_of(file: Segmentation | Structures) -> dict[int, str]:
    """The names of a file's structures by number."""
    return dict(file.segments if isinstance(file, Segmentation) else file.names)


def check_labels(files: Sequence[Segmentation | Structures], labels: Labels) -> None:
    """Raises: InputError for labels that mean no structure: colours."""
    if not files:
        return
    if any(isinstance(value, tuple) for value in _values_of(labels)):
        raise InputError(
            "colours mean no structure of DICOM SEG and RTSTRUCT files; choose by number: "
            f"{_listed(files)}"
        )


def numbers_in(labels: Labels) -> set[float] | None:
    """The numbers of the structures that labels mean; None for all."""
    is_named = isinstance(labels, FindingValues | tuple)
    return (
        {value for value in _values_of(labels) if isinstance(value, float | int)}
        if is_named
        else None
    )


def _values_of(labels: Labels) -> list[Label]:
    if isinstance(labels, FindingValues):
        return [value for values in labels.values for value in values]
    return list(labels) if isinstance(labels, tuple) else []


def _listed(files: Sequence[Segmentation | Structures]) -> str:
    """All structures, as number and name."""
    found = sorted({item for each in files for item in names_of(each).items()})
    told = ", ".join(f"{number} {name}" for number, name in found[:_NAMES])
    return told + (", ..." if len(found) > _NAMES else "")
