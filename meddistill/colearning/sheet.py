"""A picture of what was proposed, answered and believed on unboxed images, least trusted first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from meddistill.colearning.beliefs import Belief, Beliefs
from meddistill.colearning.colearning_row import ColearningRow
from meddistill.data.findings import Colour
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import from_frame
from meddistill.data.overlays import overlay
from meddistill.data.pixels import caption, draw_boxes, resize
from meddistill.data.tile_sheet import shortened, tile_sheet
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings

TILES = 30
_COLUMNS, _TILE_PX = 6, 192
_PROPOSED = (255, 255, 255)
"""White, which no finding is."""
_NOTE = (
    "Filled: the mask that is believed. White: the box that a head or the student proposed. Dice: to be "
    "expected of the teacher's answer, the lowest first. Agree: the Dice of answer and proposal."
)


def write_sheet(path: Path, rows: Sequence[ColearningRow], beliefs: Beliefs, data: Dataset) -> None:
    """Draw the unboxed images of the last round as tiles, six a line, those of least expected Dice
    first: the believed mask over the image in the finding's colour, the proposed box in white; who
    proposed it, the Dice expected of it and its agreement with the teacher's answer in the caption.

    Args:
        path: PNG file to write.
        rows: of colearning.csv, of all rounds.
        beliefs: what was believed.
        data: where the images lie.
    """
    last = max(row.round for row in rows)
    chosen = sorted(
        (row for row in rows if row.round == last),
        key=lambda row: (row.expected_dice or 0.0, row.case_id, row.finding),
    )[:TILES]
    findings = read_findings(data.directory)
    tiles, places = [], []
    for row in chosen:
        place = findings.index(row.finding) if row.finding else 0
        belief = beliefs[row.case_id][place]
        assert belief is not None  # a row tells of it
        tiles.append(_tile(row, belief, data, findings.colours[place]))
        places.append(place)
    write_png(path, tile_sheet(tiles, _COLUMNS, _NOTE, findings, sorted(set(places))))


def _tile(row: ColearningRow, belief: Belief, data: Dataset, colour: Colour) -> np.ndarray:
    """One case and finding, uint8 (side, side, 3).

    Args:
        row: of colearning.csv.
        belief: that it tells of.
        data: where the image lies.
        colour: of the finding.
    """
    image = data.image(data.by_id[row.case_id])
    size_hw = (image.shape[0], image.shape[1])
    probs = from_frame(torch.from_numpy(belief.probs)[None, None], size_hw)[0, 0].numpy()
    picture = overlay(image, probs > 0.5, (colour,))
    scale = _TILE_PX / max(size_hw)
    height, width = (max(1, round(side * scale)) for side in size_hw)
    picture = resize(picture, (height, width))
    if row.x1 is not None:
        # On the tile: of a large image a line of one pixel would be lost.
        box = np.array([[row.x1, row.y1, row.x2, row.y2]], np.float32)
        picture = draw_boxes(picture, box * scale, _PROPOSED)
    tile = np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)
    tile[:height, :width] = picture
    measured = "nothing proposed"
    if row.expected_dice is not None and row.agreement is not None:
        measured = f"{row.believed} Dice {row.expected_dice:.2f} agree {row.agreement:.2f}"
    told = f"{shortened(row.finding, 10)} {measured}".strip()
    return caption(caption(tile, row.case_id), told, at_bottom=True)
