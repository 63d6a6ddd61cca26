"""Targets of large images, cut into tiles that a student learns from at the images' own resolution.

A lesion of 40 px in an image of 3,072 px has three in a frame of 256: nothing to learn from. With
`distill.tiles` the frame is a tile of the image, and the teacher's masks are made at the image's
own size.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from meddistill.base.console import say
from meddistill.base.errors import ConfigError
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.findings import as_planes
from meddistill.data.tiles import cut_tile
from meddistill.run.dataset import Dataset
from meddistill.settings.distill import DistillConfig
from meddistill.training.packed_cases import CaseTarget

AUTO, ALWAYS, NEVER = "auto", "always", "never"
LEAST_LESION_PX = 6
"""Side of the median box in the frame, px, below which `auto` cuts images into tiles."""
LEAST_SCALE = 2
"""How many frames long an image must be at least for `auto` to cut it."""
_OF_LESION = 2
"""Tiles around each lesion, moved at random, so that it lies anywhere in them."""
_EMPTY = 2
"""Tiles without a lesion for each with one (and of an image without)."""
_MOST_WITH_LESION = 12
_TRIES = 20
_MARGIN = 0.2
"""A lesion's middle keeps this share of the side away from the tile's border."""


def with_tiles_decided(config: DistillConfig, dataset: Dataset) -> DistillConfig:
    """The config with `distill.tiles=auto` decided: on where the median box of the training images
    would be smaller than 6 px in the frame, and the images are at least two frames long.

    With tiles the feature level is off, as features are cached of whole images. Raises: ConfigError
    where tiles are asked for with what does not go with them.
    """
    tiles = config.tiles
    if tiles == AUTO:
        shown = _lesion_px(config, dataset)
        small = shown is not None and shown < LEAST_LESION_PX
        tiles = ALWAYS if small and not _hindrance(config) else NEVER
        if small:
            told = f"the median box has {shown:.1f} px in a frame of {config.image_size}"
            why = _hindrance(config)
            say(
                f"{told}: images are cut into tiles at their own resolution"
                if tiles == ALWAYS
                else f"{told}, and distill.{why} does not go with tiles, which would show it larger"
                f"{_remedy(config)}"
            )
    elif tiles == ALWAYS and (why := _hindrance(config)):
        raise ConfigError(f"distill.tiles=always does not go with distill.{why}{_remedy(config)}")
    if tiles == ALWAYS:
        return dataclasses.replace(config, tiles=tiles, feature_weight=0.0)
    return dataclasses.replace(config, tiles=tiles)


def _hindrance(config: DistillConfig) -> str:
    if config.colearning.without_detector:
        # What is believed or carried is made in the frame of the whole image.
        return f"colearning.unboxed={config.colearning.unboxed}"
    if config.rounds > 1:
        return "rounds above 1"
    return "prior_weight above 0" if config.prior_weight else ""


def _remedy(config: DistillConfig) -> str:
    if not config.colearning.without_detector:
        return ""
    return "; `--set distill.colearning.unboxed=ignore` leaves unboxed images out and takes tiles"


def _lesion_px(config: DistillConfig, dataset: Dataset) -> float | None:
    """Longer side of the median annotated box in the frame, px; None where images are hardly larger
    than the frame, or none has a box."""
    boxed = [case for case in dataset.of_split("train") if case.annotation == "boxes"]
    long_sides = [max(case.width, case.height) for case in boxed]
    if not boxed or np.median(long_sides) < LEAST_SCALE * config.image_size:
        return None
    sides = []
    for case, long_side in zip(boxed, long_sides, strict=True):
        boxes = dataset.boxes(case)
        longer = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
        sides += (longer * config.image_size / long_side).tolist()
    return float(np.median(sides))


def choose_corners(
    case_id: str, probs: np.ndarray, size_hw: tuple[int, int], side: int
) -> list[tuple[int, int]]:
    """Tops and lefts of the tiles that one case teaches by; the same for the same case.

    Some around each lesion, at most twelve, and twice as many without one (fewer where lesions leave
    no room); of a case without a lesion two.

    Args:
        case_id: of the case.
        probs: (C, S, S) in [0, 1], its target at the image's own resolution.
        size_hw: of the image.
        side: of a tile, px.
    """
    digest = hashlib.sha256(f"tiles {case_id}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    lesion = np.asarray((probs > 0.5).any(0))[: size_hw[0], : size_hw[1]]
    ends = [max(0, length - side) for length in size_hw]
    corners: list[tuple[int, int]] = []
    for x1, y1, x2, y2 in random.permutation(mask_to_boxes(lesion, 1)):
        for _ in range(_OF_LESION):
            # Of a lesion larger than a tile some point inside its box, of a smaller one its middle.
            middle = [
                random.uniform(low + side / 2, high - side / 2)
                if high - low > side
                else (low + high) / 2
                for low, high in ((y1, y2), (x1, x2))
            ]
            away = random.uniform(_MARGIN, 1 - _MARGIN, 2)
            top, left = (
                int(np.clip(round(at - share * side), 0, end))
                for at, share, end in zip(middle, away, ends, strict=True)
            )
            corners.append((top, left))
    corners = corners[:_MOST_WITH_LESION]
    wanted = _EMPTY * max(1, len(corners))
    for _ in range(_TRIES * wanted):
        if not wanted:
            break
        top, left = (int(random.integers(0, end + 1)) for end in ends)
        if not lesion[top : top + side, left : left + side].any():
            corners.append((top, left))
            wanted -= 1
    return list(dict.fromkeys(corners))


def cut_case(
    image: np.ndarray, target: CaseTarget, corners: Sequence[tuple[int, int]], side: int
) -> Iterator[tuple[np.ndarray, CaseTarget]]:
    """The tiles of one case: uint8 (side, side, 3) and what each teaches.

    Args:
        image: uint8 (H, W, 3).
        target: of the whole image at its own resolution, without features and box priors.
        corners: top and left of each tile.
        side: of a tile, px.
    """
    height, width = image.shape[:2]

    def cut(maps: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
        planes = as_planes(maps)[:, :height, :width]
        return np.stack([cut_tile(plane, corner, side) for plane in planes])

    for corner in corners:
        weight = target.pixel_weight
        yield (
            cut_tile(image, corner, side),
            dataclasses.replace(
                target,
                probs=cut(target.probs, corner),
                uncertainty=cut(target.uncertainty, corner),
                pixel_weight=None if weight is None else cut(weight, corner),
            ),
        )
