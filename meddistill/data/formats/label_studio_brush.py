"""Label Studio's brush strokes: the four channels of a picture, pixel by pixel, as runs packed into
bits (the format of the JavaScript library thi.ng/rle-pack); and its bit masks, a PNG in an address."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.formats.pictures import decode_drawn
from meddistill.data.formats.shapes import check_pixels


class _Bits:
    def __init__(self, numbers: Sequence[int]) -> None:
        try:
            packed = np.array(list(numbers), dtype=np.uint8)
        except (OverflowError, TypeError, ValueError):
            raise InputError("a brush stroke is no list of bytes") from None
        self._bits = "".join(np.unpackbits(packed).astype(str))
        self._at = 0

    def next(self, count: int) -> int:
        text = self._bits[self._at : self._at + count]
        if len(text) < count:
            raise InputError("a brush stroke is cut short")
        self._at += count
        return int(text, 2)


def decode_brush(numbers: Sequence[int], size_hw: tuple[int, int]) -> np.ndarray:
    """bool (H, W): the pixels whose opacity is at least half. Raises: InputError for a damaged
    stroke, or one of another size."""
    check_pixels(size_hw)
    bits = _Bits(numbers)
    total, word = bits.next(32), bits.next(5) + 1
    lengths = [bits.next(4) + 1 for _ in range(4)]
    height, width = size_hw
    if total != height * width * 4:
        raise InputError(f"a brush stroke has {total} values, expected 4 x {width}x{height}")
    values = np.zeros(total, dtype=np.uint32)
    at = 0
    while at < total:
        repeated = bits.next(1)
        end = at + 1 + bits.next(lengths[bits.next(2)])
        if end > total:
            raise InputError("a brush stroke is longer than its picture")
        if repeated:
            values[at:end] = bits.next(word)
        else:
            values[at:end] = [bits.next(word) for _ in range(end - at)]
        at = end
    opacity = values.reshape(height, width, 4)[..., 3]
    return np.asarray(opacity * 2 > 2**word - 1)


def decode_bitmask(address: str, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (H, W): what is drawn in the picture that a `data:` address holds. Raises: InputError for
    one that is damaged, or of another size."""
    check_pixels(size_hw)
    try:
        content = base64.b64decode(str(address).partition(",")[2], validate=True)
    except binascii.Error:
        raise InputError("a bit mask is damaged") from None
    mask = decode_drawn(content, "a bit mask")
    if mask.shape != size_hw:
        raise InputError(
            f"a bit mask has {mask.shape[1]}x{mask.shape[0]} px, expected {size_hw[1]}x{size_hw[0]}"
        )
    return mask
