"""Reading pictures of any kind into arrays, and arrays into 8-bit PNG. The only module that uses OpenCV and PIL."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from meddistill.artifacts import atomic_path
from meddistill.errors import InputError

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded; a header that promises more is refused before decoding."""
_LOSSY = ("JPEG", "MPO", "WEBP")


def load_picture(path: Path) -> np.ndarray:
    """Pixels of a picture file: (H, W), or (H, W, 3) RGB, in the file's own depth; upright by its EXIF tag.

    Raises: InputError for a file that is missing, damaged, truncated, or larger than `MAX_PIXELS`.
    """
    return _load(path)[0]


def load_labels(path: Path) -> tuple[np.ndarray, bool]:
    """As `load_picture`, but palette pictures give their indices; and whether the file format is lossy."""
    return _load(path, keep_palette=True)


def _load(path: Path, keep_palette: bool = False) -> tuple[np.ndarray, bool]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise InputError(f"{path.name} is {width}x{height}, above {MAX_PIXELS:,} pixels")
                lossy = image.format in _LOSSY
                image.load()
                return _to_array(image, keep_palette), lossy
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except Exception as error:  # PIL raises a dozen types on damaged files
        detail = " ".join(str(error).replace(str(path), path.name).split())[:160]
        raise InputError(f"{path.name} cannot be read as an image: {detail or type(error).__name__}") from error


def _to_array(image: Image.Image, keep_palette: bool) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode == "1" or (image.mode == "P" and not keep_palette) or image.mode == "PA":
        image = image.convert("L" if image.mode == "1" else "RGBA")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        image = image.convert("RGB")
    if image.mode in ("RGBA", "LA", "RGBa", "La"):
        image = _without_alpha(image)
    pixels = np.array(image)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InputError(f"pixels of shape {pixels.shape} are no image")
    return pixels


def _without_alpha(image: Image.Image) -> Image.Image:
    # Transparent pixels become black, the background of medical images.
    opaque = image.convert("RGBA")
    black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, opaque).convert("RGB")


def to_8bit(pixels: np.ndarray) -> np.ndarray:
    """uint8 of the same shape (H, W) or (H, W, 3); three equal channels become one.

    8-bit pixels stay as they are; others map their 0.5 and 99.5 percentiles to 0 and 255.
    Raises: InputError where there is nothing to see: a side of 0, NaN or infinity, or one value everywhere.
    """
    if pixels.size == 0:
        raise InputError("image has no pixels")
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all():
        pixels = pixels[..., 0]
    if not np.isfinite(pixels).all():
        raise InputError("image holds NaN or infinity")
    low, high = float(pixels.min()), float(pixels.max())
    if low == high:
        raise InputError(f"image is constant: every pixel is {low:g}")
    if pixels.dtype == np.uint8:
        return pixels
    percentiles = np.percentile(pixels, (0.5, 99.5))
    if percentiles[0] < percentiles[1]:
        low, high = float(percentiles[0]), float(percentiles[1])
    scaled = (pixels.astype(np.float64) - low) * (255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def read_rgb(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) RGB of an 8-bit PNG or JPEG, grey repeated. Raises: InputError naming the file."""
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if pixels is None:
        raise InputError(f"{path} cannot be read as an image")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def encode_png(image: np.ndarray) -> bytes:
    """PNG file of uint8 (H, W) or (H, W, 3) RGB; equal pixels give equal bytes."""
    if image.dtype != np.uint8:
        raise ValueError(f"expected uint8 pixels, got {image.dtype}")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise ValueError(f"pixels of shape {image.shape} cannot be written as PNG")
    return encoded.tobytes()


def write_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 (H, W) or (H, W, 3) RGB as PNG, whole or not at all."""
    content = encode_png(image)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def encode_jpeg(image: np.ndarray, *, max_side: int, quality: int = 85) -> bytes:
    """JPEG file of uint8 (H, W) or (H, W, 3) RGB, shrunk so that its longest side is at most `max_side` px."""
    image = shrink(image, max_side)
    if image.ndim == 3:
        grey = (image[..., :1] == image).all()
        image = image[..., 0] if grey else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"pixels of shape {image.shape} cannot be written as JPEG")
    return encoded.tobytes()


def shrink(image: np.ndarray, max_side: int) -> np.ndarray:
    """The image with its longest side at most `max_side` px, by area averaging; never enlarged. Any dtype of OpenCV."""
    scale = max_side / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
