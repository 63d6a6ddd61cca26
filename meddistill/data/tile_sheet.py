"""Pictures as the tiles of one sheet, which says below what they show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import lettering
from meddistill.data.overlays import with_legend

_LINE_PX = 18
_MARGIN_PX = 6


def tile_sheet(
    tiles: Sequence[np.ndarray],
    columns: int,
    note: str,
    findings: Findings,
    places: Sequence[int],
) -> np.ndarray:
    """The tiles, uint8 (side, side, 3), `columns` a line, on white: uint8 (H, W, 3).

    Args:
        tiles: at least one, all of one size.
        columns: tiles a line.
        note: what they show, in words, below them.
        findings: of which some are named below, where there are several.
        places: of these.
    """
    blank = np.full_like(tiles[0], 255)
    filled = [*tiles, *[blank] * (-len(tiles) % columns)]
    lines = [
        np.concatenate(filled[start : start + columns], axis=1)
        for start in range(0, len(filled), columns)
    ]
    return with_note(with_legend(np.concatenate(lines), findings, places), note)


def with_note(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture, uint8 (H, W, 3), with the text in black on white below it, broken between words."""
    width = picture.shape[1]
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and lettering(longer, _LINE_PX).shape[1] > width - 2 * _MARGIN_PX:
            lines.append(word)
        else:
            lines[-1] = longer
    note = np.full((_LINE_PX * len(lines), width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        ink = lettering(line, _LINE_PX)[:, : width - _MARGIN_PX]
        strip = note[number * _LINE_PX : (number + 1) * _LINE_PX]
        strip[:, _MARGIN_PX : _MARGIN_PX + ink.shape[1]] -= ink[..., None]
    return np.concatenate([picture, note])


def shortened(text: str, most: int) -> str:
    """The text, or its two ends where it has more than `most` letters."""
    if len(text) <= most:
        return text
    tail = (most - 3) // 2
    return f"{text[: most - 3 - tail]}...{text[len(text) - tail :]}"
