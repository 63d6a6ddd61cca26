"""Which cases of a RUN are slices of one volume, in their order; and which of them are trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from meddistill.base.hashing import chance
from meddistill.run.tables import Case

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr", ".tif", ".tiff", ".dcm")


def volume_of(case: Case) -> str:
    """The volume that a case is a slice of; empty for one that stands alone."""
    return case.volume or volume_of_source(case.source)


def volume_of_source(source: str) -> str:
    """The volume by a case's `source`, for tables without a column of it: the file before `#`
    (`brain.nii.gz#axial12`), a DICOM's folder.

    Empty for anything else.
    """
    file, mark, _ = source.partition("#")
    if mark and file.lower().endswith(VOLUME_SUFFIXES):
        return file
    return PurePosixPath(source).parent.as_posix() if source.lower().endswith(".dcm") else ""


def stacks(cases: Iterable[Case]) -> Mapping[str, list[Case]]:
    """The slices of each volume by its name, in their order along it; only of volumes whose slices
    are numbered (the columns `volume` and `slice`)."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        if case.volume and case.slice is not None:
            found.setdefault(case.volume, []).append(case)
    for slices in found.values():
        slices.sort(key=lambda case: case.slice or 0)
    return found


def drawn_for_training(cases: Sequence[Case], share: float) -> list[Case]:
    """The cases without those training slices of volumes on which somebody looked and saw nothing,
    but for a share of them in [0, 1] that does not change with the seed: most slices of most
    volumes show no finding, and would drown those that do."""
    return [case for case in cases if not _is_thinned(case) or is_drawn(case.case_id, share)]


def is_drawn(case_id: str, share: float) -> bool:
    """Whether a slice is among the share of empty ones that are drawn."""
    return chance(f"empty slice|{case_id}") < share


def within_reach(cases: Iterable[Case]) -> tuple[int, int]:
    """How many unboxed training cases lie in volumes of which another slice has a box, and how many
    do not."""
    training = [case for case in cases if case.split == "train"]
    near = sum(
        case.annotation == "unknown"
        for stack in stacks(training).values()
        if any(case.annotation == "boxes" for case in stack)
        for case in stack
    )
    return near, sum(case.annotation == "unknown" for case in training) - near


def _is_thinned(case: Case) -> bool:
    return bool(case.volume) and case.split == "train" and case.annotation == "none"
