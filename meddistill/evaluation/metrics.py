"""How close a predicted mask is to the true one: overlap, outline distance, area. The only module
that uses medpy.

Masks are boolean (H, W), or (slices, H, W) of a volume, whose diagonal and outlines are those of a body;
spacing is (row, column) or (slice, row, column) in mm. Nothing is ever NaN, so nothing is dropped from a
mean:

| prediction | truth | overlaps and NSD | distances             | area error | counted as    |
|------------|-------|------------------|-----------------------|------------|---------------|
| empty      | empty | 1                | 0                     | 0          |               |
| empty      | some  | 0                | diagonal of the image | -2         | `missed`      |
| some       | empty | 0                | diagonal of the image | +2         | `false_alarm` |

(Specificity alone keeps its own meaning in all of these, for its background exists.)
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from medpy.metric import binary

# The public functions of medpy each compute the same surface distances again: six distance
# transforms where two do.
_directed_surface_distances = getattr(binary, "__surface_distances")

DEFINITIONS = {
    "dice": ("Dice", "", "2 TP / (2 TP + FP + FN), pixels"),
    "iou": ("IoU", "", "TP / (TP + FP + FN), pixels"),
    "sensitivity": ("Sensitivity", "", "TP / (TP + FN): share of the true pixels that were found"),
    "precision": ("Precision", "", "TP / (TP + FP): share of the predicted pixels that are true"),
    "specificity": ("Specificity", "", "TN / (TN + FP): share of the background left alone"),
    "hd_px": ("HD", "px", "Hausdorff distance: the largest distance from one outline to the other"),
    "hd95_px": (
        "HD95",
        "px",
        "95th percentile of the distances of both outlines, pooled (as medpy's hd95)",
    ),
    "assd_px": ("ASSD", "px", "mean of the distances of both outlines, pooled (as medpy's assd)"),
    "nsd_px": (
        "NSD",
        "",
        "share of both outlines, pooled, within {tolerance_px:g} px of the other",
    ),
    "hd_mm": ("HD", "mm", "Hausdorff distance: the largest distance from one outline to the other"),
    "hd95_mm": (
        "HD95",
        "mm",
        "95th percentile of the distances of both outlines, pooled (as medpy's hd95)",
    ),
    "assd_mm": ("ASSD", "mm", "mean of the distances of both outlines, pooled (as medpy's assd)"),
    "nsd_mm": (
        "NSD",
        "",
        "share of both outlines, pooled, within {tolerance_mm:g} mm of the other",
    ),
    "area_error": (
        "Area error",
        "",
        "2 (predicted - true) / (predicted + true): +0.1 is about 10 % too large",
    ),
}
"""Name, unit and definition of every metric of two masks, in the order of the tables; tolerances to
be filled in."""


@dataclasses.dataclass(frozen=True, slots=True)
class Overlap:
    """Pixel counts of a prediction against the truth."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def dice(self) -> float:
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def sensitivity(self) -> float:
        """0, not undefined, where something was predicted and nothing was there to find (see the
        table above)."""
        return _ratio(self.tp, self.tp + self.fn, empty=float(self.fp == 0))

    @property
    def precision(self) -> float:
        """0, not undefined, where nothing was predicted and something was there to find."""
        return _ratio(self.tp, self.tp + self.fp, empty=float(self.fn == 0))

    @property
    def specificity(self) -> float:
        """1 where the truth fills the image."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def area_error(self) -> float:
        """Symmetric relative error in [-2, 2]: 0 for equal areas, -2 for a miss, +2 for a false
        alarm."""
        return _ratio(2 * (self.fp - self.fn), 2 * self.tp + self.fp + self.fn, empty=0.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Distances:
    """Distances between two outlines, in the unit of the spacing; `nsd` is a share in [0, 1]."""

    hd: float
    hd95: float
    assd: float
    nsd: float


@dataclasses.dataclass(frozen=True, slots=True)
class CaseScores:
    """Every metric of one prediction; `mm` is None where the pixel spacing is not known."""

    overlap: Overlap
    px: Distances
    mm: Distances | None
    missed: bool
    false_alarm: bool

    def values(self) -> dict[str, float | None]:
        """The metrics by their names in `DEFINITIONS`."""
        flat: dict[str, float | None] = {
            name: getattr(self.overlap, name)
            for name in ("dice", "iou", "sensitivity", "precision", "specificity", "area_error")
        }
        for unit, distances in (("px", self.px), ("mm", self.mm)):
            for name in ("hd", "hd95", "assd", "nsd"):
                flat[f"{name}_{unit}"] = None if distances is None else getattr(distances, name)
        return {name: flat[name] for name in DEFINITIONS}


def score_case(
    pred: np.ndarray,
    target: np.ndarray,
    spacing_hw_mm: tuple[float, float] | None = None,
    *,
    tolerance_px: float = 2.0,
    tolerance_mm: float = 1.0,
) -> CaseScores:
    """All metrics of one case. Masks: boolean (H, W). Empties: see the table above.

    Raises: ValueError if shapes differ or a spacing is not above 0.

    Args:
        pred: the mask to judge.
        target: the true mask.
        spacing_hw_mm: size of a pixel in mm; None where it is not known.
        tolerance_px: distance at which outlines still count as one, px.
        tolerance_mm: the same in mm.
    """
    overlap = count_overlap(pred, target)
    px = outline_distances(pred, target, tolerance=tolerance_px)
    mm = None
    if spacing_hw_mm is not None:
        mm = outline_distances(pred, target, spacing_hw_mm, tolerance=tolerance_mm)
    found, there = overlap.tp + overlap.fp > 0, overlap.tp + overlap.fn > 0
    return CaseScores(overlap, px, mm, missed=there and not found, false_alarm=found and not there)


def count_overlap(pred: np.ndarray, target: np.ndarray) -> Overlap:
    """Pixel counts of two boolean masks (H, W) or (slices, H, W). Raises: ValueError if shapes
    differ."""
    _check(pred, target)
    tp = int(np.count_nonzero(pred & target))
    fp = int(np.count_nonzero(pred)) - tp
    fn = int(np.count_nonzero(target)) - tp
    return Overlap(tp=tp, fp=fp, fn=fn, tn=pred.size - tp - fp - fn)


def dice(pred: np.ndarray, target: np.ndarray) -> float:
    """Dice of two boolean masks (H, W), in [0, 1]; 1 if both are empty."""
    return count_overlap(pred, target).dice


def outline_distances(
    pred: np.ndarray,
    target: np.ndarray,
    spacing: tuple[float, ...] | None = None,
    *,
    tolerance: float = 2.0,
) -> Distances:
    """HD, HD95, ASSD and NSD of two boolean masks (H, W) or (slices, H, W), in the unit of `spacing`.

    Both empty: distances 0, NSD 1. One empty: distances are the image's diagonal, NSD 0. NSD counts
    outline pixels, as medpy's surfaces do, without weighing them by length (Nikolov et al. 2018
    weigh them). Raises: ValueError if shapes differ or a spacing is not above 0.

    Args:
        pred: the mask to judge.
        target: the true mask.
        spacing: sides of a pixel or voxel, in the order of the axes; None for 1.
        tolerance: of NSD, in the same unit.
    """
    _check(pred, target)
    spacing = (1.0,) * pred.ndim if spacing is None else spacing
    if len(spacing) != pred.ndim or not (min(spacing) > 0 and math.isfinite(max(spacing))):
        raise ValueError(f"pixel spacing must be above 0 along {pred.ndim} axes, got {spacing}")
    found, there = bool(pred.any()), bool(target.any())
    if not found and not there:
        return Distances(0.0, 0.0, 0.0, 1.0)
    if not (found and there):
        sides = zip(pred.shape, spacing, strict=True)
        diagonal = math.hypot(*(length * side for length, side in sides))
        return Distances(diagonal, diagonal, diagonal, 0.0)
    pooled = surface_distances(pred, target, spacing)
    return Distances(
        hd=float(pooled.max()),
        hd95=float(np.percentile(pooled, 95)),
        assd=float(pooled.mean()),
        nsd=float(np.count_nonzero(pooled <= tolerance) / pooled.size),
    )


def surface_distances(
    pred: np.ndarray, target: np.ndarray, spacing: tuple[float, ...] | None = None
) -> np.ndarray:
    """Distance of each outline pixel of either mask to the other's outline: (N,) float64, first
    pred's, then target's.

    Both masks boolean (H, W) or (slices, H, W) and not empty. An outline pixel is a mask pixel with a
    neighbour along an axis outside the mask or the image. Computed by medpy on the box around the
    union plus one pixel: no outline pixel lies outside, so the numbers are those of the full image.
    """
    inside = box_around(pred | target)
    pred, target = pred[inside], target[inside]
    spacing = (1.0,) * pred.ndim if spacing is None else spacing
    return np.concatenate(
        [
            _directed_surface_distances(pred, target, spacing),
            _directed_surface_distances(target, pred, spacing),
        ]
    )


def box_around(mask: np.ndarray, margin_px: int = 1) -> tuple[slice, ...]:
    """The smallest box around a boolean mask that is not empty, grown by a margin: a slice an axis."""
    slices: list[slice] = []
    for axis, length in enumerate(mask.shape):
        # Each next axis is looked for inside the box so far: a pass along the last axis over the
        # whole image is what costs.
        inside = mask[tuple(slices)] if slices else mask
        others = tuple(other for other in range(mask.ndim) if other != axis)
        first, last = _extent(np.asarray(inside.any(axis=others)))
        slices.append(slice(max(0, first - margin_px), min(length, last + margin_px)))
    return tuple(slices)


def _extent(line: np.ndarray) -> tuple[int, int]:
    return int(line.argmax()), line.size - int(line[::-1].argmax())


def _ratio(part: int, whole: int, empty: float = 1.0) -> float:
    return part / whole if whole else empty


def _check(pred: np.ndarray, target: np.ndarray) -> None:
    if pred.shape != target.shape or pred.ndim not in (2, 3):
        raise ValueError(
            f"masks must be two arrays (H, W) or (slices, H, W) of one shape, got {pred.shape} and {target.shape}"
        )
    if pred.dtype != np.bool_ or target.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, got {pred.dtype} and {target.dtype}")
