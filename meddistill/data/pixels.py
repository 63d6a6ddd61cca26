"""Arrays of pixels: coded as a picture file, resized, drawn upon, their components. The only module
that uses OpenCV."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np


def decode(encoded: np.ndarray, as_stored: bool = False) -> np.ndarray | None:
    """Pixels of a picture file's bytes, uint8 (N,): RGB uint8 (H, W, 3), or (H, W[, 3]) in its own
    depth (`as_stored`), without what is transparent. None for what is no picture."""
    if as_stored:
        found = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        if found is None or found.ndim == 2:
            return found
        return np.asarray(found[..., 2::-1])  # BGR[A] to RGB
    found = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return None if found is None else np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB))


def encode(image: np.ndarray, kind: str, quality: int | None = None) -> bytes:
    """A picture file, `png` or `jpg`, of (H, W) or RGB (H, W, 3), in a depth that it has; `quality`:
    of a JPEG. Raises: ValueError for pixels that it cannot hold."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # OpenCV's own choice of filter and level of PNG: on MRI slices a third of the time of level 3,
    # files 2 % larger.
    parameters = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, encoded = cv2.imencode(f".{kind}", image, parameters)
    if not done:
        raise ValueError(f"pixels of shape {image.shape} cannot be written as {kind.upper()}")
    return encoded.tobytes()


_CAPTION_PX, _LETTERS = 14, (cv2.FONT_HERSHEY_SIMPLEX, 0.36)


def caption(image: np.ndarray, text: str, at_bottom: bool = False) -> np.ndarray:
    """A copy of uint8 RGB (H, W, 3) with small white letters on a dark strip at the top, or at the bottom.
    Of a text that is too long the two ends are shown."""
    captioned, top = image.copy(), image.shape[0] - _CAPTION_PX if at_bottom else 0
    captioned[top : top + _CAPTION_PX] //= 3
    shown, kept = text, len(text)
    while kept > 2 and cv2.getTextSize(shown, *_LETTERS, 1)[0][0] > image.shape[1] - 6:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
    cv2.putText(captioned, shown, (3, top + 11), *_LETTERS, (255, 255, 255), 1, cv2.LINE_AA)
    return captioned


def resize(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w[, 3]) of any dtype of OpenCV to (H, W[, 3]): averaged when shrinking, bilinear when
    growing.

    For thumbnails and hashes; what a network sees goes through `data/frames.py`.
    """
    shrinks = size_hw[0] < image.shape[0]
    return np.asarray(
        cv2.resize(
            image, size_hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
    )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV keeps to this thread: with pictures of which each process has its own, waking others
    costs more than they do."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def connected_components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) int, half-open px, and areas (N,) int, px, of the 8-connected components of a
    bool mask (H, W)."""
    pixels = mask.astype(np.uint8)
    x, y, width, height = cv2.boundingRect(pixels)  # most of a mask is empty
    part = np.ascontiguousarray(pixels[y : y + height, x : x + width])
    if not part.size:
        return np.zeros((0, 4), dtype=np.int32), np.zeros(0, dtype=np.int32)
    found = cv2.connectedComponentsWithStats(part, connectivity=8, ltype=cv2.CV_32S)[2]
    found = found[1:]  # the first is what is not mask
    corner, size, areas = found[:, :2] + (x, y), found[:, 2:4], found[:, 4]
    return np.concatenate([corner, corner + size], axis=1), areas


def draw_boxes(
    image: np.ndarray, boxes_xyxy_px: np.ndarray, colour: tuple[int, int, int] = (255, 221, 0)
) -> np.ndarray:
    """A copy of uint8 RGB (H, W, 3) with outlines of the boxes (N, 4), yellow unless asked for."""
    drawn = image.copy()
    for x1, y1, x2, y2 in np.rint(boxes_xyxy_px).astype(int):
        # Half-open: the last row and column that belong to the box are x2 - 1 and y2 - 1.
        cv2.rectangle(drawn, (int(x1), int(y1)), (int(x2) - 1, int(y2) - 1), colour, 1)
    return drawn


def shrink(image: np.ndarray, max_side: int) -> np.ndarray:
    """The image with its longest side at most `max_side` px, by area averaging; never enlarged. Any
    dtype of OpenCV."""
    scale = max_side / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return resize(image, (height, width))
