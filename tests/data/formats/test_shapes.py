"""Masks that are drawn from run lengths."""

import numpy as np

from meddistill.data.formats.shapes import decode_run_lengths, parse_run_lengths


def test_coco_compressed_run_lengths():
    expected = np.zeros((5, 5), dtype=bool)
    expected[1:3, 1:4] = True
    counts = (6, 2, 3, 2, 3, 2, 7)
    # Worked out by hand from maskApi.c: from the fourth on, differences to the last but one; 6 bits
    # a letter.
    assert parse_run_lengths(compress(counts)) == counts
    assert parse_run_lengths("623004") == (6, 2, 3, 2, 3, 6)
    assert (decode_run_lengths(counts, (5, 5)) == expected).all()


def compress(counts):
    """cocoapi's rleToString."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            code, value = value & 0x1F, value >> 5
            more = value != -1 if code & 0x10 else value != 0
            text += chr((code | 0x20 if more else code) + 48)
    return text
