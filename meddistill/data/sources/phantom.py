"""Sample data without a download: procedural slices that look like contrast-enhanced head MRI, with
lesions and masks.

No anatomy is claimed: the slices have what makes the task honest (folded cortex, ventricles, bright
scalp and vessels, bias field, Rician noise, lesions from faint to bright). Lengths are px of a 256
px slice; grey values before noise lie in [0, 1]. A head is drawn once and cut at several heights,
so that neighbouring slices of a group agree.

Lesions were matched to tumours in contrast-enhanced T1 MRI. Percentiles 5, 50, 95 of 150 drawn
slices, and of 300 of doi:10.6084/m9.figshare.1512427.v5: share of the image 0.4, 1.2, 3.5 % (real
0.3, 1.2, 4.7), length over width 1.1, 1.5, 2.6 (real 1.1, 1.4, 2.3), contrast to the ring around
the lesion -0.3, 0.5, 1.2 (real -0.3, 0.5, 1.6).
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from meddistill.base.console import track
from meddistill.base.errors import ConfigError
from meddistill.base.files import atomic_path
from meddistill.data.formats.pictures import write_png
from meddistill.run.layout import GROUPS_CSV

CLASSES = ("ring", "solid", "dark", "none")
SLICES_PER_GROUP = 2
_HEALTHY_SHARE = 0.1
_TWO_LESIONS_SHARE = 0.2
_SCALE_PX = 256
_FIELDS = ("outline", "warp_a", "warp_b", "folds", "fine", "bias")
_WHITE, _GREY, _FLUID = 0.36, 0.26, 0.09

Field = np.ndarray
"""(H, W) float32: one value a pixel. Scalars are Python's: NumPy's would make it 64 bit, and
drawing twice as slow."""


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


def draw_slice(rng: Generator, size: int = _SCALE_PX) -> tuple[np.ndarray, np.ndarray, str]:
    """One slice of a random head.

    Returns the image uint8 (size, size), its lesions' mask bool (size, size) (all False where there
    is none), and the class: one of `CLASSES`.
    """
    head = draw_head(rng)
    return cut_slice(head, rng.uniform(-0.5, 0.5), rng, size)


def write_phantom(directory: Path, *, cases: int, seed: int, size: int = _SCALE_PX) -> None:
    """Write a source of the `folder` layout: images/ID.png, masks/ID.png (0/255) and groups.csv
    (id,group,class).

    A group is one head, cut at up to `SLICES_PER_GROUP` neighbouring heights. Same seed, same
    bytes. Raises: ConfigError for fewer than one case or a size below 64 px.

    Args:
        directory: the folder to write.
        cases: how many slices; a larger number only adds heads.
        seed: draws the heads.
        size: side of a slice, px.
    """
    if cases < 1:
        raise ConfigError(f"a phantom needs at least 1 case, got {cases}")
    if size < 64:
        raise ConfigError(f"a phantom slice is at least 64 px wide, got {size}")
    lines = ["id,group,class"]
    heads = -(-cases // SLICES_PER_GROUP)
    for group in track(range(heads), "drawing heads", heads):
        rng = np.random.default_rng([seed, group])
        head = draw_head(rng)
        heights = rng.uniform(-0.35, 0.35) + np.linspace(-0.12, 0.12, SLICES_PER_GROUP)
        for index in range(min(SLICES_PER_GROUP, cases - group * SLICES_PER_GROUP)):
            image, mask, class_name = cut_slice(head, float(heights[index]), rng, size)
            case_id = f"h{group:04d}_{index}"
            write_png(directory / "images" / f"{case_id}.png", image)
            write_png(directory / "masks" / f"{case_id}.png", mask.astype(np.uint8) * 255)
            lines.append(f"{case_id},h{group:04d},{class_name}")
    with atomic_path(directory / GROUPS_CSV) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


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


def cut_slice(
    head: Head, height: float, rng: Generator, size: int = _SCALE_PX
) -> tuple[np.ndarray, np.ndarray, str]:
    """The head at one height. Returns image, mask and class as `draw_slice` does.

    Args:
        head: whose head.
        height: in [-0.5, 0.5]; 0 goes through the ventricles.
        rng: draws the scanner's noise alone.
        size: side of the slice, px.
    """
    grid = ((np.arange(size) + 0.5) * _SCALE_PX / size - _SCALE_PX / 2).astype(np.float32)
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
        self.pixels = (np.arange(size) + 0.5) * _SCALE_PX / size

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
    image = ndimage.gaussian_filter(np.clip(image, 0, None), 0.55 * size / _SCALE_PX)
    real, imaginary = head.noise_level * rng.standard_normal((2, size, size), dtype=np.float32)
    return np.clip(np.hypot(image + real, imaginary) * 255, 0, 255).astype(np.uint8)
