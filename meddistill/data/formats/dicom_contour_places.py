"""On which images the contours of a file lie, by the UIDs that they name and by millimetres."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.data.formats.dicom import Header
from meddistill.data.formats.dicom_contours import Contour, Structures
from meddistill.data.formats.dicom_placement import Placement

_ALONE_MM = 0.5
"""How far a contour may lie from the plane of an image that has no neighbour."""
_SAME_MM = 0.01
_EDGE = 0.5
"""Pixels beyond the middles of the outermost ones that are still of the image."""


@dataclasses.dataclass(frozen=True)
class ContourPlaces:
    """`images`: all of which a file speaks; `on`: the contours on each. `lost`: how many of its
    contours lie on none although they may be of these; `not_there`: the images that contours name
    which are not in the folder. `why_elsewhere`: where a contour lies that is not on the image it
    names; else ''."""

    images: frozenset[Path]
    on: Mapping[Path, tuple[Contour, ...]]
    lost: int = 0
    not_there: int = 0
    why_elsewhere: str = ""


def contour_places(
    file: Structures, headers: Mapping[Path, Header], as_stored: bool = False
) -> ContourPlaces:
    """Contours that name an image are on that, others on the nearest slice, no further off than half
    the way to the next.

    Args:
        file: contours.
        headers: of the images in the folder.
        as_stored: a contour is on the image that it names, wherever it lies.
    """
    spoken = {path: header for path, header in headers.items() if file.speaks_of(header)}
    planes = _planes(spoken)
    there = {header.uid for header in spoken.values()}
    on: dict[Path, list[Contour]] = {}
    missing: set[str] = set()
    lost, why = 0, ""
    for contour in file.contours:
        named = [plane for plane in planes if contour.image and plane.uid == contour.image]
        near = _nearest(contour, named if contour.image in there else planes)
        if contour.image and contour.image not in there:
            if planes and not near:
                missing.add(contour.image)  # a slice that was left out
            else:
                lost += 1
        elif near or (named and as_stored):
            for plane in near or named:
                on.setdefault(plane.path, []).append(contour)
        elif named:
            why = why or _why_elsewhere(contour, named[0], file)
        else:
            lost += 1
    contours = {path: tuple(found) for path, found in on.items()}
    return ContourPlaces(frozenset(spoken), contours, lost, len(missing), why)


@dataclasses.dataclass(frozen=True)
class _Plane:
    """Where an image lies: `height` in mm along its normal, and how far a contour on it may be
    off."""

    path: Path
    uid: str
    size_hw: tuple[int, int]
    placement: Placement
    normal: tuple[float, ...]
    height: float
    within_mm: float

    def beside_mm(self, contour: Contour) -> float:
        """How far the contour lies beside the image; 0 where they meet."""
        at, furthest = self.placement, 0.0
        away = np.array(contour.points) - at.position
        for side, mm, px in zip((at.down, at.across), at.spacing_hw_mm, self.size_hw, strict=True):
            places = away @ side
            after, before = places.min() - (px - 1 + _EDGE) * mm, -_EDGE * mm - places.max()
            furthest = max(furthest, float(after), float(before))
        return furthest


def _planes(headers: Mapping[Path, Header]) -> list[_Plane]:
    """The images of one frame that say where they lie."""
    stacks: dict[tuple[float, ...], list[_Plane]] = {}
    for path, header in headers.items():
        if len(header.placed) == 1:
            (at,) = header.placed
            normal = tuple(at.normal.tolist())
            height = float(np.dot(normal, at.position))
            plane = _Plane(path, header.uid, header.size_hw, at, normal, height, _ALONE_MM)
            stacks.setdefault(tuple(round(side, 2) + 0.0 for side in normal), []).append(plane)
    found: list[_Plane] = []
    for stack in stacks.values():
        steps = np.diff(np.unique([plane.height for plane in stack]))
        steps = steps[steps > _SAME_MM]
        # At half the way to the next, it is nobody's.
        within = float(np.median(steps)) / 2 - _SAME_MM if len(steps) else _ALONE_MM
        found += [dataclasses.replace(plane, within_mm=within) for plane in stack]
    return found


def _off_mm(contour: Contour, planes: Sequence[_Plane]) -> list[float]:
    """How far the contour's furthest point is from each plane."""
    points = np.array(contour.points)
    ends: dict[tuple[float, ...], tuple[float, float]] = {}
    found = []
    for plane in planes:
        normal = plane.normal
        if normal not in ends:
            heights = points @ normal
            ends[normal] = float(heights.min()), float(heights.max())
        low, high = ends[normal]
        found.append(max(abs(low - plane.height), abs(high - plane.height)))
    return found


def _nearest(contour: Contour, planes: Sequence[_Plane]) -> list[_Plane]:
    """Those on which the contour lies: the nearest, and others at its place."""
    pairs = zip(_off_mm(contour, planes), planes, strict=True)
    close = [(mm, plane) for mm, plane in pairs if mm <= plane.within_mm]
    close = [(mm, plane) for mm, plane in close if not plane.beside_mm(contour)]
    if not close:
        return []
    first = min(close, key=lambda pair: pair[0])[1]
    return [plane for _, plane in close if abs(plane.height - first.height) <= _SAME_MM]


def _why_elsewhere(contour: Contour, plane: _Plane, file: Structures) -> str:
    mm = max(_off_mm(contour, [plane])[0], plane.beside_mm(contour))
    return f"mask lies {mm:.1f} mm from its image by its own header (a contour of {file.path.name})"
