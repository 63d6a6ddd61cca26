"""A picture of the targets that deserve the least trust, so that a person can look before a student
learns them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import from_frame
from meddistill.data.overlays import overlay
from meddistill.data.pixels import caption, resize
from meddistill.run.tables import QualityRow
from meddistill.targets.zoom import zoom_window

TILES = 25
_COLUMNS, _TILE_PX, _CONTEXT = 5, 192, 3.0
_CYAN = (0, 255, 255)


def least_trusted(rows: Sequence[QualityRow], count: int = TILES) -> list[QualityRow]:
    """The rows that were not accepted, then those of greatest doubt; test cases and empty targets
    are left out."""
    shown = [row for row in rows if row.split != "test" and row.n_boxes]
    return sorted(shown, key=lambda row: (row.accepted, -row.doubt, row.case_id))[:count]


def write_contact_sheet(
    path: Path,
    rows: Sequence[QualityRow],
    load: Callable[[QualityRow], tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    """Draw `rows` as tiles, five a line: the surroundings of the boxes, the mask over them, the
    boxes in cyan.

    `load` gives a row's image uint8 RGB (H, W, 3), its target's probabilities (S, S) and its boxes
    (N, 4) px. The caption of a tile is case, doubt and, for a case not accepted, a cross.
    """
    tiles = []
    for row in rows:
        image, probs, boxes = load(row)
        mask = (
            from_frame(torch.from_numpy(probs)[None, None], (image.shape[0], image.shape[1]))[
                0, 0
            ].numpy()
            > 0.5
        )
        tile = _tile(overlay(image, mask), boxes)
        tiles.append(
            caption(tile, f"{'' if row.accepted else 'x '}{row.case_id[-18:]} {row.doubt:.2f}")
        )
    blank = np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)
    tiles += [blank] * (-len(tiles) % _COLUMNS)
    lines = [
        np.concatenate(tiles[start : start + _COLUMNS], axis=1)
        for start in range(0, len(tiles), _COLUMNS)
    ]
    if lines:
        write_png(path, np.concatenate(lines, axis=0))


def _tile(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    size_hw = (picture.shape[0], picture.shape[1])
    hull = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
    left, top, right, bottom = zoom_window(hull, size_hw, _CONTEXT)
    scale = _TILE_PX / max(right - left, bottom - top)
    height, width = max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale))
    tile = np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)
    tile[:height, :width] = resize(
        np.ascontiguousarray(picture[top:bottom, left:right]), (height, width)
    )
    for box in boxes:
        corners = ((box - [left, top, left, top]) * scale).round().astype(int)
        x1, y1, x2, y2 = corners.clip(0, [width - 1, height - 1] * 2)
        tile[y1 : y2 + 1, [x1, x2]] = _CYAN
        tile[[y1, y2], x1 : x2 + 1] = _CYAN
    return tile
