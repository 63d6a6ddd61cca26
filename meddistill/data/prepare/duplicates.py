"""Images that look the same: a perceptual hash, and pairs of near-equal hashes across splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.pixels import resize
from meddistill.run.tables import Case

_SIDE = 16
_SHRUNK_SIDE = 128
HASH_BITS = 2 * _SIDE * _SIDE


@dataclasses.dataclass(frozen=True, slots=True)
class Duplicate:
    """Two cases of different splits that look the same: a row of duplicates.csv; `bits` of their
    hashes differ."""

    case_id: str
    split: str
    other_id: str
    other_split: str
    bits: int


def perceptual_hash(image: np.ndarray) -> str:
    """512 bits as hexadecimal digits: whether brightness rises from each cell of a 16x16 grid to
    the right and down.

    `image`: uint8 (H, W) or (H, W, 3). Resizing, recompression and a change of contrast move few
    bits. (The difference hash of N. Krawetz, "Kind of like that", 2013, in both directions.)
    """
    grey = image if image.ndim == 2 else image.mean(axis=2).astype(np.uint8)
    factor = min(grey.shape) // _SHRUNK_SIDE
    if factor > 1:  # by a whole number first: a third of the time of two uneven steps
        grey = resize(grey, (grey.shape[0] // factor, grey.shape[1] // factor))
    across = resize(grey, (_SIDE, _SIDE + 1)).astype(np.int16)
    down = resize(grey, (_SIDE + 1, _SIDE)).astype(np.int16)
    # A step of 1 is noise: flat background must not differ between a picture and its recompressed
    # copy.
    bits = np.concatenate(
        [(np.diff(across, axis=1) > 1).ravel(), (np.diff(down, axis=0) > 1).ravel()]
    )
    return np.packbits(bits).tobytes().hex()


def near_duplicates(
    hashes: Sequence[str], splits: Sequence[str], most_bits: int
) -> list[tuple[int, int, int]]:
    """Pairs (i, j, differing bits) of cases in different splits whose hashes differ in at most
    `most_bits`, i < j."""
    if not hashes:
        return []
    words = np.array([np.frombuffer(bytes.fromhex(text), dtype=np.uint64) for text in hashes])
    codes = np.array([sorted(set(splits)).index(split) for split in splits])
    pairs = []
    for index in range(len(words) - 1):
        others = np.flatnonzero(codes[index + 1 :] != codes[index]) + index + 1
        distances = np.bitwise_count(words[others] ^ words[index]).sum(axis=1)
        for other in np.flatnonzero(distances <= most_bits):
            pairs.append((index, int(others[other]), int(distances[other])))
    return pairs


def find_duplicates(rows: Sequence[Case], hashes: Sequence[str], most_bits: int) -> list[Duplicate]:
    """Cases that look the same although they lie in different splits; `hashes[i]` is of `rows[i]`,
    empty for one that shows nothing, which is like no other."""
    rows = [row for row, text in zip(rows, hashes, strict=True) if text]
    hashes = [text for text in hashes if text]
    return [
        Duplicate(rows[i].case_id, rows[i].split, rows[j].case_id, rows[j].split, bits)
        for i, j, bits in near_duplicates(hashes, [row.split for row in rows], most_bits)
    ]


def refuse_duplicates(duplicates: Sequence[Duplicate]) -> None:
    """For `--strict`. Raises: InputError where there is any."""
    if duplicates:
        first = duplicates[0]
        raise InputError(
            f"--strict: {first.case_id} ({first.split}) and {first.other_id} ({first.other_split}) "
            "look the "
            f"same, as do {len(duplicates) - 1} more pairs across splits; give --groups, or take "
            "one of each pair out"
        )
