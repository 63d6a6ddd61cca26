"""Boxes that people drew in 3D Slicer: markups files, `.mrk.json`."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, InputError
from meddistill.data.formats.text_files import read_json

SUFFIX = ".mrk.json"
_TO_RAS = {"RAS": np.array([1.0, 1.0, 1.0]), "LPS": np.array([-1.0, -1.0, 1.0])}


@dataclasses.dataclass(frozen=True)
class SpaceBox:
    """A box in the world: `corners` (N, 3) in mm, RAS+ (right, anterior, superior), of which it is the
    hull; and what it is called, '' where nothing is said."""

    corners: np.ndarray
    name: str = ""


def read_markups(path: Path) -> tuple[list[SpaceBox], Counter[str]]:
    """The boxes (ROI) and closed curves of a file, and notes on what was left out, with counts.

    Raises: InputError for a file that is damaged, is none of Slicer's, or says no place in mm.
    """
    content = read_json(path)
    markups = content.get("markups") if isinstance(content, Mapping) else None
    if not isinstance(markups, list):
        raise FileError(path, "holds no markups of 3D Slicer")
    boxes: list[SpaceBox] = []
    notes: Counter[str] = Counter()
    for number, each in enumerate(markups, start=1):
        which = f"markup {number} of "
        try:
            corners = _corners(each)
        except InputError as error:
            raise FileError(path, str(error), which) from None
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise FileError(path, f"is damaged: {error}", which) from None
        if corners is None:
            notes[f"markups without an extent are left out ({each.get('type')})"] += 1
        elif not np.isfinite(corners).all():
            raise FileError(path, "has a coordinate that is not finite", which)
        else:
            boxes.append(SpaceBox(corners, str(each.get("name") or "").strip()))
    return boxes, notes


def _corners(markup: Mapping[str, Any]) -> np.ndarray | None:
    """Points (N, 3) in RAS that a markup is the hull of; None for one without an extent. Raises:
    InputError that says what is wrong, without a name."""
    system = str(markup.get("coordinateSystem", "LPS")).upper()
    units = markup.get("coordinateUnits", "mm")
    unit = units[0] if isinstance(units, list) and units else units
    if system not in _TO_RAS or unit != "mm":
        raise InputError(f"is in {system} {unit}, expected LPS or RAS in mm")
    kind = markup.get("type")
    if kind == "ROI":
        centre, size = (np.array(markup[key], dtype=float) for key in ("center", "size"))
        axes = np.array(markup.get("orientation", np.eye(3)), dtype=float).reshape(3, 3)
        if centre.shape != (3,) or size.shape != (3,):
            raise InputError("has no centre and size of three numbers")
        if not (size > 0).all():
            return None
        halves = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * size
        points = centre + halves @ axes.T  # the columns of `orientation` are the box's own axes
    elif kind == "ClosedCurve":
        points = np.array([each["position"] for each in markup["controlPoints"]], dtype=float)
        if len(points) < 3:
            return None
    else:
        return None
    return points.reshape(-1, 3) * _TO_RAS[system]
