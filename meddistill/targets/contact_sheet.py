"""A picture of the targets that deserve the least trust, so that a person can look before a student
learns them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from meddistill.data.findings import LESION, Findings
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import from_frame
from meddistill.data.overlays import overlay
from meddistill.data.pixels import caption, resize
from meddistill.data.tile_sheet import shortened, tile_sheet
from meddistill.run.tables import QualityRow
from meddistill.targets.zoom import zoom_window

TILES = 25
_COLUMNS, _TILE_PX, _CONTEXT = 5, 192, 3.0
_CYAN = (0, 255, 255)
_NOTE = (
    "Filled: the teacher's mask. Cyan: the boxes that it was asked by. Doubt: from 0 to 1, the highest "
    "first. Refused, before all others: the student does not learn from it."
)


def least_trusted(rows: Sequence[QualityRow], count: int = TILES) -> list[QualityRow]:
    """The rows that were not accepted, then those of greatest doubt; test cases and empty targets
    are left out."""
    shown = [row for row in rows if row.split != "test" and row.n_boxes]
    return sorted(shown, key=lambda row: (row.accepted, -row.doubt, row.case_id))[:count]


def write_contact_sheet(
    path: Path,
    rows: Sequence[QualityRow],
    load: Callable[[QualityRow], tuple[np.ndarray, np.ndarray, np.ndarray]],
    findings: Findings = LESION,
) -> None:
    """Draw `rows` as tiles, five a line: the surroundings of the boxes, the mask over them in its
    finding's colour, the boxes in cyan; case, finding, doubt and whether it was refused in the captions.

    Args:
        path: PNG file to write.
        rows: of quality.csv.
        load: gives a row's image uint8 RGB (H, W, 3), its target's probabilities (S, S) and its boxes
            (N, 4) px.
        findings: of the RUN.
    """
    tiles, places = [], []
    for row in rows:
        image, probs, boxes = load(row)
        mask = (
            from_frame(torch.from_numpy(probs)[None, None], (image.shape[0], image.shape[1]))[
                0, 0
            ].numpy()
            > 0.5
        )
        # No picture is worth an error: of a finding that was renamed meanwhile the first colour does.
        known = row.finding in findings.names
        places.append(findings.index(row.finding) if known else 0)
        tile = _tile(overlay(image, mask, (findings.colours[places[-1]],)), boxes)
        finding = f"{shortened(row.finding, 16)}, " if row.finding else ""
        told = f"{finding}doubt {row.doubt:.2f}{'' if row.accepted else ', refused'}"
        tiles.append(caption(caption(tile, row.case_id), told, at_bottom=True))
    if tiles:
        write_png(path, tile_sheet(tiles, _COLUMNS, _NOTE, findings, sorted(set(places))))


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
