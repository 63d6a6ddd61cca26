"""Random heads for the phantom, and the lesions in them: what neighbouring slices share. Lengths are
px of a 256 px slice."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.random import Generator

CLASSES = ("ring", "solid", "dark", "none")
_HEALTHY_SHARE = 0.1
_TWO_LESIONS_SHARE = 0.2
_FIELDS = ("outline", "warp_a", "warp_b", "folds", "fine", "bias")


@dataclasses.dataclass(frozen=True)
class Lesion:
    """A lesion of one kind: centre and mean radius in px from the middle of the head, shape as
    harmonics of the angle.

    `harmonics` (K, 2): amplitude (share of the radius) and phase of the k-th, from k = 2. `level`:
    grey value of what is bright (dark for kind `dark`). `height` and `extent`: where the head is
    cut for the largest outline, and how far it reaches up and down.
    """

    kind: str
    x: float
    y: float
    radius: float
    aspect: float
    angle: float
    harmonics: np.ndarray
    level: float
    rim: float
    height: float
    extent: float


@dataclasses.dataclass(frozen=True)
class Head:
    """One person: everything that neighbouring slices share. `noise` holds pairs of (N, N) normal
    grids by name."""

    half_width: float
    half_length: float
    tilt: float
    offset: tuple[float, float]
    skull: tuple[float, float, float]
    ventricles: float
    asymmetry: float
    gain: float
    bias: float
    noise_level: float
    vessels: np.ndarray
    noise: dict[str, np.ndarray]
    lesions: tuple[Lesion, ...]


def draw_head(rng: Generator) -> Head:
    """A random head with no, one or two lesions; about a tenth have none."""
    half_width = rng.uniform(76, 92)
    half_length = half_width * rng.uniform(1.15, 1.35)
    head = Head(
        half_width=half_width,
        half_length=half_length,
        tilt=rng.normal(0, 0.06),
        offset=(rng.normal(0, 4), rng.normal(0, 4)),
        skull=(rng.uniform(3, 7), rng.uniform(4, 7), rng.uniform(1, 2.5)),
        ventricles=rng.uniform(0.6, 1.5),
        asymmetry=rng.normal(0, 0.08),
        gain=rng.uniform(0.75, 1.1),
        bias=rng.uniform(0.08, 0.22),
        noise_level=rng.uniform(0.012, 0.03),
        vessels=rng.uniform(-1, 1, (14, 3)),
        noise={name: rng.normal(size=(2, 48, 48)).astype(np.float32) for name in _FIELDS},
        lesions=(),
    )
    count = 0 if rng.random() < _HEALTHY_SHARE else 2 if rng.random() < _TWO_LESIONS_SHARE else 1
    kind = CLASSES[rng.choice(3, p=[0.37, 0.5, 0.13])]
    lesions: list[Lesion] = []
    while len(lesions) < count:
        lesion = _draw_lesion(head, kind, count, rng)
        if all(
            np.hypot(lesion.x - o.x, lesion.y - o.y) > 1.6 * (lesion.radius + o.radius) + 8
            for o in lesions
        ):
            lesions.append(lesion)
    return dataclasses.replace(head, lesions=tuple(lesions))


def _draw_lesion(head: Head, kind: str, count: int, rng: Generator) -> Lesion:
    # Of two lesions each is smaller, as metastases are, and there is room for both.
    radius = float(np.clip(rng.lognormal(np.log(16), 0.36), 8, 28)) * (1.0 if count == 1 else 0.75)
    # Solid lesions grow near the surface, the others in the depth.
    depth = rng.uniform(0.5, 0.85) if kind == "solid" else rng.uniform(0.35, 0.7)
    direction = rng.uniform(0, 2 * math.pi)
    orders = np.arange(2, 7)
    return Lesion(
        kind=kind,
        x=depth * (head.half_width - 18) * math.cos(direction),
        y=depth * (head.half_length - 18) * math.sin(direction),
        radius=radius,
        aspect=rng.uniform(1.0, 1.8),
        angle=rng.uniform(0, math.pi),
        harmonics=np.stack(
            [rng.normal(0, 0.5 / orders**1.5), rng.uniform(0, 2 * np.pi, orders.size)], axis=1
        ),
        level=rng.uniform(0.12, 0.18) if kind == "dark" else rng.uniform(0.48, 0.82),
        rim=rng.uniform(2.5, 5.0),
        height=rng.uniform(-0.2, 0.2),
        extent=rng.uniform(0.9, 1.6),
    )
