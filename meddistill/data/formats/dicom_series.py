"""DICOM series: frames of one or many files, put in order by where they lie, whatever they are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import FileError
from meddistill.data.formats.dicom import Header
from meddistill.data.formats.dicom_placement import Placement

_SAME = 0.02
"""Share of a step within which two slices lie at one place."""
_EVEN = 0.1
"""Share of a step by which steps may differ."""
_TO_RAS = np.array([-1.0, -1.0, 1.0])  # DICOM counts to the left and to the back


@dataclasses.dataclass(frozen=True)
class SeriesFrame:
    """One frame of a file, and where it lies."""

    path: Path
    frame: int
    placement: Placement
    uid: str


@dataclasses.dataclass(frozen=True)
class Series:
    """Parallel frames of one series and size, in the order of their places along the normal.

    `size_hw`: px of each. `why_uneven`: what the series has that is wrong with its steps, in mm; ''
    where they are even.
    """

    frames: tuple[SeriesFrame, ...]
    size_hw: tuple[int, int]
    why_uneven: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(each.path for each in self.frames))

    @property
    def step_mm(self) -> np.ndarray:
        """From slice to slice, (3,) in mm towards left, back and head; oblique to the frames where the
        gantry was tilted."""
        first, last = (np.array(self.frames[i].placement.position) for i in (0, -1))
        step: np.ndarray = (last - first) / (len(self.frames) - 1)
        return step

    @property
    def slice_mm(self) -> float | None:
        """Distance of neighbouring slices along their normal; None where steps are uneven."""
        return None if self.why_uneven else abs(float(self.step_mm @ self._normal))

    def check_even(self) -> None:
        """Raises: InputError where steps are uneven."""
        if self.why_uneven:
            raise FileError(self.frames[0].path, self.why_uneven, "the series of ")

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) from (column, row, slice) to mm in RAS+. Raises: InputError where steps are uneven."""
        self.check_even()
        first = self.frames[0].placement
        row_mm, column_mm = first.spacing_hw_mm
        affine = np.eye(4)
        affine[:3, 0] = np.array(first.across) * column_mm
        affine[:3, 1] = np.array(first.down) * row_mm
        affine[:3, 2] = self.step_mm
        affine[:3, 3] = first.position
        affine[:3] *= _TO_RAS[:, None]
        return affine

    @property
    def _normal(self) -> np.ndarray:
        return self.frames[0].placement.normal


def series_in(headers: Mapping[Path, Header]) -> list[Series]:
    """The series of two slices and more among files: frames of one patient, series, size, orientation
    and spacing. Files that do not say where they lie, or lie alone, are in none; those that name no
    series are of that of their folder.

    A file that is there twice (by its UID and place) counts once.
    """
    found: dict[tuple[object, ...], dict[tuple[object, ...], SeriesFrame]] = {}
    for path, header in headers.items():
        for number, placement in enumerate(header.placed):
            turned = [round(side, 2) for side in (*placement.across, *placement.down)]
            spacing = [round(side, 4) for side in placement.spacing_hw_mm]
            series = (header.patient, header.series or path.parent)
            key = (series, header.size_hw, *turned, *spacing)
            frame = SeriesFrame(path, number, placement, header.uid)
            # Who makes files anonymous may give all of them one UID.
            itself = (header.uid, number, placement.position)
            found.setdefault(key, {}).setdefault(itself, frame)
    return [
        _in_order(list(frames.values()), key[1])  # type: ignore[arg-type]
        for key, frames in found.items()
        if len(frames) > 1
    ]


def has_no_ending(path: Path) -> bool:
    """Whether it is named as scanners name files: without an ending, or with a number for one."""
    return not path.name.startswith(".") and (not path.suffix or path.suffix[1:].isdecimal())


def copies_among(headers: Mapping[Path, Header]) -> dict[Path, Path]:
    """Files that say where they lie and are there before, by UID and place, each with the first that is
    the same: `series_in` leaves them out."""
    first: dict[tuple[object, ...], Path] = {}
    found: dict[Path, Path] = {}
    for path, header in headers.items():
        if header.placed:
            series = (header.patient, header.series or path.parent)
            same = first.setdefault((series, header.size_hw, header.uid, header.placed), path)
            if same != path:
                found[path] = same
    return found


def _in_order(frames: Sequence[SeriesFrame], size_hw: tuple[int, int]) -> Series:
    normal = frames[0].placement.normal
    ordered = sorted(frames, key=lambda each: float(np.array(each.placement.position) @ normal))
    series = Series(tuple(ordered), size_hw)
    return dataclasses.replace(series, why_uneven=_why_uneven(series, normal))


def _why_uneven(series: Series, normal: np.ndarray) -> str:
    places = np.array([np.array(each.placement.position) @ normal for each in series.frames])
    steps = np.diff(places)
    usual = float(np.median(steps))
    twice = int((steps <= _SAME * max(usual, 1e-3)).sum())
    if twice:
        at = places[int(np.argmin(steps))]
        return (
            f"has {twice} slice{'s' * (twice > 1)} at the place of another (the first at "
            f"{at:.1f} mm): several phases or echoes? Give one of them"
        )
    wide = int(np.argmax(steps))
    if steps[wide] > (2 - _EVEN) * usual:
        return (
            f"lacks a slice between {places[wide]:.1f} and {places[wide + 1]:.1f} mm (others "
            f"are {usual:.1f} mm apart): is it whole?"
        )
    if (np.abs(steps - usual) > _EVEN * usual).any():
        return f"has slices that are {steps.min():.2f} to {steps.max():.2f} mm apart"
    return ""
