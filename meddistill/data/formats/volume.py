"""A volume: voxels with a place in the world, whatever file they come from."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import FileError, InputError

MAX_VOXELS = 1_000_000_000
_FLAT = 1e-6
"""Share of the volume of a box of its sides below which a voxel has none."""
_CLOSE_SHARE = 0.1
"""Two grids are one where no corner is further apart than this share of a voxel's shortest side."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where voxels lie: `shape` (X, Y, Z) as stored, `affine` (4, 4) from voxel indices to mm in RAS+
    (right, anterior, superior); None where the file does not say. `channels`: volumes on this grid."""

    shape: tuple[int, int, int]
    affine: np.ndarray | None
    channels: int = 1


@dataclasses.dataclass(frozen=True)
class Volume:
    """Voxels `array` (X, Y, Z) in the canonical frame, the one nearest to RAS+; `affine` (4, 4) from
    their indices to mm, None where the file does not say where it lies; `spacing` (x, y, z) of a voxel
    in mm, None where it does not say how large voxels are; and the file `source`."""

    array: np.ndarray
    affine: np.ndarray | None
    spacing: tuple[float, float, float] | None
    source: Path


def as_pages(shape: tuple[int, ...]) -> np.ndarray:
    """The affine of a stack of pages (X, Y, Z) that says nothing of the world: cut across its last
    axis it shows the pages as they are."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:2, 3] = shape[0] - 1, shape[1] - 1
    return affine


def axes_in_world(affine: np.ndarray) -> tuple[list[int], list[bool]]:
    """For x, y and z of the world the stored axis that runs along it, and whether against it.

    The axes are given out greedily, the one that fits best first. Raises: InputError for an affine
    that is degenerate.
    """
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if (
        not np.isfinite(affine).all()
        or (sides == 0).any()
        or abs(np.linalg.det(affine[:3, :3])) < _FLAT * sides.prod()
    ):
        raise InputError(
            "its affine has no orientation (a spacing of 0, axes that fall together, or a number that "
            "is not finite); mend its header"
        )
    along = affine[:3, :3] / sides
    left = [(world, stored) for world in range(3) for stored in range(3)]
    axes, against = [0, 0, 0], [False, False, False]
    while left:
        world, stored = max(left, key=lambda pair: abs(along[pair]))
        axes[world], against[world] = stored, bool(along[world, stored] < 0)
        left = [pair for pair in left if pair[0] != world and pair[1] != stored]
    return axes, against


def canonical(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) and affine, turned and mirrored into the frame nearest to RAS+; no value is
    interpolated. Raises: as `axes_in_world`."""
    axes, against = axes_in_world(affine)
    turned = np.eye(4)
    turned[:3, :3] = affine[:3, axes]
    turned[:3, 3] = affine[:3, 3]
    voxels = np.transpose(voxels, axes)
    for axis in range(3):
        if against[axis]:
            voxels = np.flip(voxels, axis)
            turned[:3, 3] += turned[:3, axis] * (voxels.shape[axis] - 1)
            turned[:3, axis] *= -1
    return voxels, turned


def as_stored(maps: Sequence[np.ndarray], affine: np.ndarray, axis: int) -> np.ndarray:
    """Maps (H, W) of the slices across a canonical axis, as `volume_slices` shows them, as voxels
    (X, Y, Z) in the frame that `affine` stores them in: the other way round from cutting."""
    voxels = np.stack([np.asarray(each).T[::-1, ::-1] for each in maps], axis=axis)
    return np.ascontiguousarray(uncanonical(voxels, affine))


def uncanonical(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Canonical voxels (X, Y, Z) as `affine` stores them: what `canonical` turned and mirrored is turned
    back. Raises: as `axes_in_world`."""
    axes, against = axes_in_world(affine)
    for world in range(3):
        if against[world]:
            voxels = np.flip(voxels, world)
    return np.transpose(voxels, np.argsort(axes))


def resampled(volume: Volume, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """The volume's voxels on another canonical grid, by the nearest one; 0 outside of it. Raises:
    InputError for a volume that does not say where it lies."""
    if volume.affine is None:
        raise FileError(volume.source, "does not say where it lies: it cannot be resampled")
    to_own = np.linalg.inv(volume.affine) @ affine
    # Along each axis of the new grid its share of the place in the old one: no array of all places.
    steps = [to_own[:3, axis, None] * np.arange(length) for axis, length in enumerate(shape)]
    found = np.zeros(shape, volume.array.dtype)
    limits = np.array(volume.array.shape)[:, None, None]
    for z in range(shape[2]):
        place = (
            steps[0][:, :, None]
            + steps[1][:, None, :]
            + (steps[2][:, z] + to_own[:3, 3])[:, None, None]
        )
        nearest = np.floor(place + 0.5).astype(np.int64)
        inside = ((nearest >= 0) & (nearest < limits)).all(axis=0)
        x, y, depth = nearest[:, inside]
        found[..., z][inside] = volume.array[x, y, depth]
    return found


def sides_of(affine: np.ndarray) -> tuple[float, float, float]:
    """The sides (x, y, z) of a voxel in mm."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(x), float(y), float(z)


def apart(image: Grid, mask: Grid) -> str:
    """Why a mask does not lie where its image lies, in voxels or mm; '' where it does.

    The order in which axes are stored does not count. A file that does not say where it lies is
    taken to lie where the other does.
    """
    first, second = _canonical_shape(image), _canonical_shape(mask)
    if first != second:
        return f"mask has {_sides(second)} voxels, its image {_sides(first)}"
    if image.affine is None or mask.affine is None:
        return ""
    a, b = _canonical_affine(image), _canonical_affine(mask)
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in first))])
    distances = np.linalg.norm(corners @ (a - b).T[:, :3], axis=1)
    if distances.max() <= _CLOSE_SHARE * min(sides_of(a)):
        return ""
    return (
        f"mask lies {distances.max():.1f} mm from its image by its own header (corner "
        f"{_point(b)} against {_point(a)} mm)"
    )


def meet(image: Grid, mask: Grid) -> bool:
    """Whether any voxel of both may lie at one place, by the boxes around them; also where one does not
    say where it lies. Raises: InputError for an affine that cannot be inverted."""
    if image.affine is None or mask.affine is None:
        return True
    try:
        to_image = np.linalg.inv(image.affine) @ mask.affine
    except np.linalg.LinAlgError:
        raise InputError("its affine cannot be inverted; mend its header") from None
    ends = [(-0.5, length - 0.5) for length in mask.shape]
    corners = np.array([(*corner, 1) for corner in itertools.product(*ends)]) @ to_image.T[:, :3]
    low, high = corners.min(axis=0), corners.max(axis=0)
    return bool((high > -0.5).all() and (low < np.array(image.shape) - 0.5).all())


def canonical_grid(grid: Grid) -> Grid:
    """The grid in the canonical frame. Raises: InputError for a degenerate affine."""
    if grid.affine is None:
        return grid
    x, y, z = _canonical_shape(grid)
    return Grid((x, y, z), _canonical_affine(grid), grid.channels)


def _canonical_shape(grid: Grid) -> tuple[int, ...]:
    if grid.affine is None:
        return grid.shape
    return tuple(grid.shape[axis] for axis in axes_in_world(grid.affine)[0])


def _canonical_affine(grid: Grid) -> np.ndarray:
    assert grid.affine is not None
    # Strides of nothing: only the shape counts.
    return canonical(np.broadcast_to(np.uint8(0), grid.shape), grid.affine)[1]


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _point(affine: np.ndarray) -> str:
    return ", ".join(f"{value:.1f}" for value in affine[:3, 3])
