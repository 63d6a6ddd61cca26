"""Where the frames of a DICOM file lie in the patient, as its header says. Reads no file."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from meddistill.base.errors import InputError


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a frame lies in the patient, in mm towards left, back and head: `position` of the centre of
    its first pixel, `across` along a row and `down` a column, of length 1; `spacing_hw_mm`."""

    position: tuple[float, float, float]
    across: tuple[float, float, float]
    down: tuple[float, float, float]
    spacing_hw_mm: tuple[float, float]

    @property
    def normal(self) -> np.ndarray:
        """Across the frame, (3,)."""
        return np.cross(self.across, self.down)


def placements_of(data: Any, frames: int) -> tuple[Placement, ...]:
    """Of each frame (DICOM PS3.3 C.7.6.2, of enhanced files C.7.6.16.2); () where one lacks it.
    Raises: InputError for one that has a place but no size."""
    shared = list(data.get("SharedFunctionalGroupsSequence") or [])
    groups = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    if frames > 1 and not groups:  # a loop over time, not through a body
        return ()
    found = []
    for frame in range(frames):
        places = [data] if not groups else [*groups[frame : frame + 1], *shared]
        position = _value(places, "PlanePositionSequence", "ImagePositionPatient")
        turned = _value(places, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _value(places, "PixelMeasuresSequence", "PixelSpacing")
        if len(position) != 3 or len(turned) != 6 or len(spacing) != 2:
            return ()
        if 0 in spacing:  # its millimetres would be made up, its pictures taken for no volume
            told = " x ".join(f"{side:g}" for side in spacing)
            raise InputError(f"its header says that a pixel is {told} mm; mend it")
        if min(spacing) < 0:
            return ()
        if not np.isfinite([*position, *turned, *spacing]).all():
            return ()
        across, down = np.array(turned[:3]), np.array(turned[3:])
        if min(np.linalg.norm(across), np.linalg.norm(down)) < 0.5 or abs(across @ down) > 0.01:
            return ()
        x, y, z = position
        found.append(Placement((x, y, z), _three(across), _three(down), (spacing[0], spacing[1])))
    return tuple(found)


def _three(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values / np.linalg.norm(values))
    return x, y, z


def _value(places: list[Any], sequence: str, name: str) -> list[float]:
    for place in places:
        for holder in (place, *(place.get(sequence) or ())):
            value = holder.get(name)
            if value is not None:
                return [float(each) for each in value]
    return []
