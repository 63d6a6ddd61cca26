"""Boxes in the world, as 3D Slicer saves them, on the slices of the volumes that they lie in."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.slicer_markups import SUFFIX, SpaceBox, read_markups
from meddistill.data.formats.volume import Grid, canonical_grid
from meddistill.data.formats.volume_slices import grid_of
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotated_cases import main_name
from meddistill.data.sources.file_roles import Patterns, Roles
from meddistill.data.sources.matching import match
from meddistill.data.sources.naming import Named, name_files
from meddistill.data.sources.source import SourceOptions
from meddistill.run.tables import Rejected

PlaneBox = tuple[float, float, float, float]


@dataclasses.dataclass
class Markups:
    """The markups files of a source: which are whose, and what was found in them."""

    of_volume: Mapping[Path, tuple[Path, ...]]
    rejected: list[Rejected]
    rule: str = ""
    tables: list[Path] = dataclasses.field(default_factory=list)
    names: set[str] = dataclasses.field(default_factory=set)
    notes: Counter[str] = dataclasses.field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.tables)

    def boxed(
        self, cases: Sequence[RawCase], volume: Path, options: SourceOptions
    ) -> list[RawCase]:
        """The slices of `volume`, in their order, with its boxes. A slice that none meets is unknown,
        unless the user says that somebody looked at all.

        Raises: InputError for a file that is damaged, and for boxes none of which meets the volume.
        """
        files = self.of_volume.get(volume, ())
        if not files:
            return list(cases)
        found: list[SpaceBox] = []
        for path in files:
            boxes, notes = read_markups(path)
            self.notes.update(notes)
            found += [each for each in boxes if not options.classes or each.name in options.classes]
        self.names |= {each.name for each in found} - {""}
        on_slice = boxes_on_slices(found, grid_of(volume), options.axis)
        if found and not on_slice:
            raise InputError(
                f"its boxes ({', '.join(path.name for path in files[:3])}) lie outside of the volume: "
                "are they another patient's?"
            )
        empty = () if options.unannotated == "none" else None
        boxed = []
        for index, case in enumerate(cases):
            here = on_slice.get(index, [])
            names = tuple(name for _, name in here)
            boxes_px = tuple(box for box, _ in here) or empty
            self.notes["slices that a box meets"] += bool(here)
            boxed.append(
                dataclasses.replace(
                    case,
                    boxes_xyxy_px=boxes_px,
                    box_findings=names if any(names) else (),
                    class_name=main_name(boxes_px or (), names),
                    unannotated=boxes_px is None,
                    keep_if_empty=case.keep_if_empty or bool(here),
                )
            )
        return boxed

    def all_notes(self, options: SourceOptions) -> list[str]:
        """How the files were read, a line each."""
        if not self:
            return []
        lines = [f"{text}: {count}" for text, count in sorted(self.notes.items()) if count]
        if options.unannotated != "none":
            lines.append(
                "slices that no box of 3D Slicer meets are taken as unknown (--unannotated none, where "
                "somebody looked at all of them)"
            )
        return lines


def find_markups(files: Sequence[Path], volumes: Sequence[Named], directory: Path) -> Markups:
    """The markups files among `files` and the volumes that they belong to, by their names, or by the
    folder where it holds one volume."""
    paths = [path for path in files if path.name.lower().endswith(SUFFIX)]
    if not paths:
        return Markups({}, [])
    # Named together with the volumes: folders that all share say nothing.
    known = {volume.path for volume in volumes}
    named = name_files([*known, *paths], directory, (SUFFIX, *_endings(volumes)))
    images = [each for each in named if each.path in known]
    marks = [each for each in named if each.path not in known]
    roles = Roles(sorted(images, key=lambda each: each.path.parts), {("boxes",): marks}, [])
    found = match([*roles.images, *marks], directory, Patterns(), roles)
    whose = dict(found.masks_of)
    left = set(paths) - {path for each in whose.values() for path in each}
    if left and len(images) == 1:
        whose = {images[0].path: tuple(paths)}
        left = set()
    rejected = [
        Rejected(shown(path, directory), "boxes without a volume of their name") for path in left
    ]
    return Markups(whose, sorted(rejected, key=lambda row: row.source), found.rule, paths)


def _endings(volumes: Sequence[Named]) -> tuple[str, ...]:
    """How the volumes' names end after their stems."""
    return tuple({each.path.name[len(each.stem) :].lower() for each in volumes})


def boxes_on_slices(
    boxes: Sequence[SpaceBox], grid: Grid, axis: int
) -> dict[int, list[tuple[PlaneBox, str]]]:
    """The boxes of every slice across a canonical axis that one meets, in px of the slice's picture as
    `VolumeSlice` shows it, half-open, with their names.

    A box meets the slices whose middle it holds, a thinner one the nearest. One that is turned against
    the volume is taken by the box around it. Raises: InputError for a volume without a place.
    """
    if grid.affine is None:
        raise InputError("its file does not say where it lies, so boxes in mm cannot be placed")
    placed = canonical_grid(grid)
    assert placed.affine is not None
    to_voxels = np.linalg.inv(placed.affine)
    across, down = (each for each in range(3) if each != axis)
    width, height = placed.shape[across], placed.shape[down]
    found: dict[int, list[tuple[PlaneBox, str]]] = {}
    for each in boxes:
        voxels = each.corners @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        low, high = voxels.min(axis=0), voxels.max(axis=0)
        # Pictures count against both axes, and a voxel reaches half a voxel to each side of its middle.
        x1, x2 = width - 0.5 - high[across], width - 0.5 - low[across]
        y1, y2 = height - 0.5 - high[down], height - 0.5 - low[down]
        if min(x2, y2) <= 0 or x1 >= width or y1 >= height:
            continue
        box = tuple(round(float(value), 3) for value in (x1, y1, x2, y2))
        first, last = int(np.ceil(low[axis] - 1e-6)), int(np.floor(high[axis] + 1e-6))
        if first > last:
            first = last = round(float(low[axis] + high[axis]) / 2)
        for index in range(max(first, 0), min(last, placed.shape[axis] - 1) + 1):
            found.setdefault(index, []).append((box, each.name))  # type: ignore[arg-type]
    return found
