"""A slice of a phantom's head, drawn: tissue, lesions with their mask, what a scanner makes of it.
Lengths are px of a 256 px slice; grey values before noise lie in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from meddistill.data.sources.phantom_heads import Head, Lesion

SCALE_PX = 256
_WHITE, _GREY, _FLUID = 0.36, 0.26, 0.09

Field = np.ndarray
"""(H, W) float32: one value a pixel. Scalars are Python's: NumPy's would make it 64 bit, and
drawing twice as slow."""


def cut_slice(
    head: Head, height: float, rng: Generator, size: int = SCALE_PX
) -> tuple[np.ndarray, np.ndarray, str]:
    """The head at one height. Returns image, mask and class as `phantom.draw_slice` does.

    Args:
        head: whose head.
        height: in [-0.5, 0.5]; 0 goes through the ventricles.
        rng: draws the scanner's noise alone.
        size: side of the slice, px.
    """
    grid = ((np.arange(size) + 0.5) * SCALE_PX / size - SCALE_PX / 2).astype(np.float32)
    x, y = np.meshgrid(grid - head.offset[0], grid - head.offset[1])
    cosine, sine = math.cos(head.tilt), math.sin(head.tilt)
    x, y = x * cosine + y * sine, y * cosine - x * sine
    smooth = _Noise(head, height, size)
    depth = _depth(head, height, x, y, smooth)
    depth_in_brain = depth - sum(head.skull) - 1.2 * smooth("outline", 60)

    image, fold = _brain(head, depth_in_brain, x, y, smooth)
    image = _ventricles(head, height, image, x, y, smooth)
    inside = _step(depth_in_brain)
    image = image * inside + _shell(head, depth, smooth) * (1 - inside)
    image = _vessels(head, image, depth_in_brain, fold, x, y)
    mask = np.zeros((size, size), dtype=bool)
    for lesion in head.lesions:
        image, one = _add_lesion(image, lesion, height, x, y, depth_in_brain, smooth)
        mask |= one
    return (
        _scan(head, image, smooth, rng, size),
        mask,
        head.lesions[0].kind if mask.any() else "none",
    )


class _Noise:
    """Smooth noise of deviation 1 that changes slowly with height: `self(name, cell)` has bumps of
    `cell` px."""

    def __init__(self, head: Head, height: float, size: int) -> None:
        cosine, sine = math.cos(height), math.sin(height)
        self.grids = {name: cosine * pair[0] + sine * pair[1] for name, pair in head.noise.items()}
        self.pixels = (np.arange(size) + 0.5) * SCALE_PX / size

    def __call__(self, name: str, cell: float) -> Field:
        places = self.pixels / cell
        return 2.1 * _spline(_spline(self.grids[name], places).T, places).T

    def at(self, name: str, rows: Field, columns: Field) -> Field:
        """The same noise at any place, in cells; it repeats after the grid's end."""
        return 2.1 * ndimage.map_coordinates(
            self.grids[name],
            [rows, columns],
            np.float32,
            order=3,
            mode="grid-wrap",
            prefilter=False,
        )


def _spline(grid: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Cubic B-spline along the rows of a grid that repeats: (N, M) to (places, M). No BLAS: its
    threads cost more."""
    first = np.floor(places).astype(int)
    t = (places - first).astype(np.float32)[:, None]
    weights = ((1 - t) ** 3, (3 * t - 6) * t * t + 4, ((3 - 3 * t) * t + 3) * t + 1, t**3)
    return sum(
        weight / 6 * grid[(first + shift) % len(grid)]
        for shift, weight in enumerate(weights, start=-1)
    )


def _step(distance: Field, width: float = 0.7) -> Field:
    """Soft edge: 0 outside, 1 inside, over about `width` px to either side of distance 0."""
    return 0.5 + 0.5 * np.tanh(distance / width)


def _depth(head: Head, height: float, x: Field, y: Field, smooth: _Noise) -> Field:
    """Distance to the head's surface in px, about; negative outside. Wider at the back, smaller
    towards the top."""
    shrink = 1 - 0.25 * max(height, 0.0) ** 2 - 0.1 * max(-height, 0.0) ** 2
    across = x / (
        head.half_width * shrink * (1 + 0.0009 * y) * (1 + head.asymmetry * np.sign(x) * 0.2)
    )
    along = y / (head.half_length * shrink)
    radius = (np.abs(across) ** 2.3 + np.abs(along) ** 2.3) ** (1 / 2.3)
    return (1 - radius) * np.hypot(x, y) / np.maximum(radius, 0.05) + 1.2 * smooth("outline", 40)


def _shell(head: Head, depth: Field, smooth: _Noise) -> Field:
    """Scalp (bright fat), skull (dark with marrow in between) and fluid, from outside in."""
    outer, skull, _ = head.skull
    scalp = outer + 1.5 * smooth("warp_a", 35)
    fat = 0.6 + 0.09 * smooth("fine", 3) + 0.12 * smooth("warp_b", 25)
    marrow = 0.3 + 0.06 * smooth("fine", 4) + 0.08 * smooth("warp_a", 20)
    bone = 0.05 + marrow * np.exp(-(((depth - scalp - 0.5 * skull) / (0.22 * skull)) ** 2))
    return np.where(
        depth < scalp + skull, fat + (bone - fat) * _step(depth - scalp), _FLUID
    ) * _step(depth)


def _brain(head: Head, depth: Field, x: Field, y: Field, smooth: _Noise) -> tuple[Field, Field]:
    """White and grey matter with folds; also the distance to the nearest fold in px.

    A fold is where a noise field, stretched towards the centre, crosses zero; grey matter lines
    folds and surface.
    """
    wave_a, wave_b = smooth("warp_a", 14), smooth("warp_b", 14)
    angle = np.arctan2(y + 4 * wave_a, x + 4 * wave_b) / (2 * np.pi) * 48
    field = smooth.at("folds", angle, (depth + 5 * wave_b) / 22 + 7)
    slope_y, slope_x = np.gradient(field, 256 / field.shape[0])
    fold = np.abs(field) / (np.hypot(slope_x, slope_y) + 0.02)
    # The two halves of the brain meet in a fold from front to back, which the callosum bridges in
    # the middle.
    middle = np.abs(x + 1.5 * wave_a) + 12 * _step(34 - np.abs(y + 4), 4)
    reach = 20 + 7 * smooth("warp_a", 28)
    fold = np.minimum(fold + np.maximum(depth - reach, 0) * 0.5, middle)
    cortex = np.maximum(_step(4.0 - fold, 1.5), _step(4.5 - depth, 1.5))
    grey = np.clip(cortex, 0, 1)
    for side in (-1, 1):  # thalamus and basal ganglia
        grey = np.maximum(
            grey,
            0.8 * _step(1 - np.hypot((x - side * 21) / 10, (y - 4) / 20) + 0.12 * wave_a, 0.25),
        )
    texture = 0.012 * smooth("fine", 2.5) + 0.012 * smooth("warp_b", 9)
    image = _WHITE + (_GREY - _WHITE) * grey + texture
    fluid = _step(1.1 + 0.5 * wave_a - fold, 0.8) * np.clip(1.2 - depth / 40, 0.35, 1)
    return image + (_FLUID - image) * fluid, fold


def _ventricles(
    head: Head, height: float, image: Field, x: Field, y: Field, smooth: _Noise
) -> Field:
    """Two curved fluid spaces beside the middle, wider in front and behind, gone towards the top of
    the head."""
    size = head.ventricles * (1 - 1.6 * abs(height) ** 1.5)
    along = (y + 2) / 38
    ends = _step((1 - np.abs(along)) * 20, 2)
    width = (
        size
        * (2.0 + 5.5 * along**2 + 2.0 * along**2 * (along < 0))
        * np.sqrt(np.clip(1 - along**4, 0, 1))
    )
    for side in (-1, 1):
        bow = side * (5 + 14 * along**2 * (1 + side * head.asymmetry))
        distance = width - np.abs(x - bow + 1.2 * smooth("warp_b", 18))
        image = image + (_FLUID - image) * _step(distance - 0.3) * ends
    return image


def _vessels(head: Head, image: Field, depth: Field, fold: Field, x: Field, y: Field) -> Field:
    """Bright dots and short streaks, as contrast agent leaves them: small decoys for a detector."""
    blush = np.zeros_like(image)
    for across, along, bright in head.vessels.tolist():
        near = 1 - ((x - 70 * across) ** 2 + (y - 90 * along) ** 2) / (10 + 5 * bright) ** 2
        blush += (0.4 + 0.2 * bright) * np.clip(near, 0, None) ** 2
    image = image + blush * np.exp(-(fold**2)) * _step(depth)
    sinus = np.exp(
        -((x / 3) ** 2 + ((np.abs(y) - head.half_length + sum(head.skull) + 3) / 4) ** 2)
    )
    return image + 0.4 * sinus * (y > 0)


def _add_lesion(
    image: Field, lesion: Lesion, height: float, x: Field, y: Field, depth: Field, smooth: _Noise
) -> tuple[Field, np.ndarray]:
    """The image with the lesion in it, and the lesion's mask: one connected piece inside the
    brain.
    """
    reach = math.sqrt(max(1 - ((height - lesion.height) / lesion.extent) ** 2, 0.0))
    cosine, sine, stretch = math.cos(lesion.angle), math.sin(lesion.angle), math.sqrt(lesion.aspect)
    along = ((x - lesion.x) * cosine + (y - lesion.y) * sine) / stretch
    across = ((y - lesion.y) * cosine - (x - lesion.x) * sine) * stretch
    direction = np.arctan2(across, along)
    lobes = sum(
        a * np.cos(k * direction + phase)
        for k, (a, phase) in enumerate(lesion.harmonics.tolist(), start=2)
    )
    outline = (
        lesion.radius * reach * np.clip(1 + lobes, 0.45, 1.6) * (1 + 0.07 * smooth("warp_a", 8))
    )
    inward = np.minimum(outline - np.hypot(along, across), depth - 1)
    pieces, count = ndimage.label(inward > 0)
    mask = (
        pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
        if count
        else np.zeros(image.shape, dtype=bool)
    )
    inward = np.where(mask | (inward <= 0), inward, -1.0)

    grain = 0.05 * smooth("fine", 3) + 0.06 * smooth("warp_b", 7)
    if lesion.kind == "ring":
        core = 0.2 + 0.5 * grain
        rim = lesion.rim * (1 + 0.3 * smooth("warp_b", 12))
        filling = core + (lesion.level + grain - core) * _step(rim - inward, 1.2)
        image = image * (
            1 - 0.22 * np.exp(-np.clip(-inward, 0, None) / (0.5 * lesion.radius)) * _step(depth)
        )
    elif lesion.kind == "solid":
        filling = lesion.level * (1 - 0.12 * _step(inward - 0.35 * lesion.radius, 3)) + grain
    else:
        # A cyst: fluid in a thin wall that takes up contrast, by which it differs from ventricles
        # and wide folds.
        filling = lesion.level + 0.4 * grain + 0.45 * np.exp(-(((inward - 1.2) / 1.6) ** 2))
    return image + (filling - image) * _step(inward, 0.9), mask


def _scan(head: Head, image: Field, smooth: _Noise, rng: Generator, size: int) -> np.ndarray:
    """What the scanner makes of it: coil sensitivity, blur, Rician noise, 8 bits."""
    image = image * head.gain * np.exp(head.bias * smooth("bias", 90))
    image = ndimage.gaussian_filter(np.clip(image, 0, None), 0.55 * size / SCALE_PX)
    real, imaginary = head.noise_level * rng.standard_normal((2, size, size), dtype=np.float32)
    return np.clip(np.hypot(image + real, imaginary) * 255, 0, 255).astype(np.uint8)
