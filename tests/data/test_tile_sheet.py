"""Sheets of tiles: what is written on them and below, and what is left white."""

import numpy as np

from meddistill.data.findings import LESION, Findings
from meddistill.data.pixels import caption
from meddistill.data.tile_sheet import shortened, tile_sheet, with_note

GREY = np.full((64, 192, 3), 90, np.uint8)


def test_a_long_caption_ends_within_the_tile():
    """Its end is drawn, too: slices of one patient differ there."""
    one, other = (caption(GREY, f"patient001_{'x' * 60}_slice_{n}") for n in (4, 6))
    assert (one[:, -3:] == caption(GREY, "")[:, -3:]).all()
    assert (one != other).any()
    first, second = (caption(GREY, f"patient00{n}_{'x' * 60}") for n in (4, 6))
    assert (first != second).any()


def test_a_caption_at_the_bottom_leaves_the_rest():
    drawn = caption(GREY, "doubt 0.50", at_bottom=True)
    assert (drawn[:50] == GREY[:50]).all()
    assert (drawn[50:] == 255).any()


def test_places_without_a_tile_are_white():
    tile = np.zeros((64, 64, 3), np.uint8)
    sheet = tile_sheet([tile] * 4, 3, "what it shows", LESION, [0])
    assert sheet.shape[1] == 192
    assert (sheet[64:128, 64:] == 255).all()
    assert not sheet[64:128, :64].any()
    assert (sheet[128:] < 100).any()


def test_a_note_is_broken_to_the_width():
    short, long = with_note(GREY, "a word"), with_note(GREY, "words and more words " * 8)
    assert long.shape[1] == 192
    assert long.shape[0] > short.shape[0] > 64
    assert (long[:64] == GREY).all()


def test_findings_that_are_shown_are_named():
    several = Findings(("heart", "lung", "liver"))
    sheet = tile_sheet([GREY], 1, "", several, [2])
    seen = [(sheet == colour).all(axis=2).any() for colour in several.colours]
    assert seen == [False, False, True]


def test_a_name_keeps_both_ends():
    assert shortened("myocardium", 10) == "myocardium"
    assert shortened("left ventricle", 10) == "left...cle"
