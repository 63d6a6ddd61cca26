"""Across which axis volumes are cut where nobody says: `axis` -1, or `auto`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.formats.known_volume_formats import VOLUME_SUFFIXES
from meddistill.data.formats.volume import axes_in_world, sides_of
from meddistill.data.formats.volume_slices import grid_of
from meddistill.data.sources.walking import walk_files
from meddistill.settings.axes import AXIAL

_SAMPLE = 50
_EQUAL = 0.01


def finest_axis(directory: Path) -> int:
    """The axis across which most volumes below a folder have their finest plane: that along which
    voxels are longest; 2 (axial) where they are as long along others, and without volumes."""
    files, _ = walk_files(directory, directory)
    volumes = [path for path in files if path.name.lower().endswith(VOLUME_SUFFIXES)]
    step = max(1, len(volumes) // _SAMPLE)
    found: Counter[int] = Counter()
    for path in volumes[::step]:
        try:
            affine = grid_of(path).affine
            if affine is not None:
                found[_longest(affine)] += 1
        except InputError:
            continue  # reading it says why
    return found.most_common(1)[0][0] if found else AXIAL


def _longest(affine: np.ndarray) -> int:
    sides = [sides_of(affine)[stored] for stored in axes_in_world(affine)[0]]
    longest = max(sides)
    return max(axis for axis, side in enumerate(sides) if side >= longest * (1 - _EQUAL))
