"""Crop-and-zoom: the teacher sees the surroundings of one box enlarged, so that a small lesion
fills many pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

Window = tuple[int, int, int, int]
"""Left, top, right, bottom in whole px of the image, half-open."""
_LARGEST_INPUT = 1024
"""Side of the largest picture that a teacher's encoder looks at, px (SAM 2)."""


def zoom_window(box_xyxy_px: np.ndarray, size_hw: tuple[int, int], context: float) -> Window:
    """The square (x1, y1, x2, y2) in whole px around a box, `context` times its longer side, inside
    the image.

    At the border it is moved inwards, not cut; an image narrower than the square limits that side.
    """
    x1, y1, x2, y2 = (float(value) for value in box_xyxy_px)
    side = max(x2 - x1, y2 - y1) * context
    window = []
    for low, high, limit in ((x1, x2, size_hw[1]), (y1, y2, size_hw[0])):
        length = min(max(round(side), 1), limit)
        start = min(max(round((low + high) / 2 - length / 2), 0), limit - length)
        window.append((start, start + length))
    (left, right), (top, bottom) = window
    return left, top, right, bottom


def cut_and_enlarge(image: np.ndarray, window: Window) -> np.ndarray:
    """The window of uint8 RGB (H, W, 3), enlarged (bicubic) until its longest side is the image's, or
    1,024 px where that is less: no encoder sees more, and a window of a slide would take its memory.
    """
    left, top, right, bottom = window
    cut = image[top:bottom, left:right]
    longest = min(max(image.shape[:2]), max(_LARGEST_INPUT, *cut.shape[:2]))
    scale = longest / max(cut.shape[:2])
    size = (max(1, round(cut.shape[0] * scale)), max(1, round(cut.shape[1] * scale)))
    if size == cut.shape[:2]:
        return cut
    pixels = torch.from_numpy(np.ascontiguousarray(cut)).permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, size, mode="bicubic", align_corners=False)
    return pixels[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def boxes_in_window(
    boxes_xyxy_px: np.ndarray, window: Window, size_hw: tuple[int, int]
) -> np.ndarray:
    """Boxes (..., 4) of the image in px of the enlarged window, whose size is `size_hw`; clipped to
    it."""
    left, top, right, bottom = window
    offset = np.array([left, top, left, top], np.float32)
    scale = np.array([size_hw[1] / (right - left), size_hw[0] / (bottom - top)] * 2, np.float32)
    moved = (np.asarray(boxes_xyxy_px, np.float32) - offset) * scale
    limit = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
    return np.clip(moved, 0, limit).astype(np.float32)
