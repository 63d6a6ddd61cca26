"""What the study of trust does to images, to see whether a student notices. No study of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import ndimage

Pixels = Callable[[np.ndarray], np.ndarray]


def _same(mask: np.ndarray) -> np.ndarray:
    return mask


@dataclasses.dataclass(frozen=True)
class Change:
    """Of an image uint8 (H, W[, 3]), and what becomes of its true mask, bool (H, W)."""

    of_image: Pixels
    of_mask: Pixels = _same


def _values(change: Pixels) -> Change:
    """A change of values, in floats, held to 8 bits."""
    return Change(
        lambda image: np.clip(np.rint(change(image.astype(np.float64))), 0, 255).astype(np.uint8)
    )


def _places(change: Pixels) -> Change:
    """A change of places, alike of image and mask."""
    return Change(lambda image: change(image).copy(), lambda mask: change(mask).copy())


def _blurred(image: np.ndarray, share: float) -> np.ndarray:
    sigma = share * max(image.shape[:2])
    return np.asarray(ndimage.gaussian_filter(image, (sigma, sigma, 0)[: image.ndim]))


def _noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 40, image.shape[:2])
    return image + (noise if image.ndim == 2 else noise[..., None])


def _cropped(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[0] // 4, image.shape[1] // 4
    return image[height : image.shape[0] - height, width : image.shape[1] - width]


def _contrast(image: np.ndarray, factor: float) -> np.ndarray:
    return (image - image.mean()) * factor + image.mean()


def _another_ultrasound(image: np.ndarray) -> np.ndarray:
    """Darker with depth, blurred sideways, and of another grey curve: another scanner."""
    deep = np.linspace(1.15, 0.55, image.shape[0]).reshape(-1, *[1] * (image.ndim - 1))
    sideways = (0.0, 0.012 * image.shape[1], 0.0)[: image.ndim]
    return 255 * (ndimage.gaussian_filter(image, sideways) * deep / 255).clip(0, 1) ** 1.3


SPOILED: dict[str, Change] = {
    "negative": _values(lambda image: 255 - image),
    "quarter turn": _places(lambda image: np.rot90(image)),
    "upside down": _places(lambda image: image[::-1]),
    "mirrored": _places(lambda image: image[:, ::-1]),
    "noise": _values(_noisy),
    "constant": _values(lambda image: np.full_like(image, image.mean())),
    "blurred": _values(lambda image: _blurred(image, 0.02)),
    "cropped": _places(_cropped),
    "dark": _values(lambda image: image * 0.35),
}
DRAWN: dict[str, Change] = {"another ultrasound look": _values(_another_ultrasound)}
LOOKS: dict[str, Change] = {
    "contrast +15 %": _values(lambda image: _contrast(image, 1.15)),
    "contrast -15 %": _values(lambda image: _contrast(image, 0.85)),
    "a little blur": _values(lambda image: _blurred(image, 0.004)),
}
