"""Tiles cover an image, and what is seen in them is put together without a seam."""

import re

import numpy as np
import pytest
from support.paths import ROOT

from meddistill.data.tiles import cut_tile, see_in_tiles, tile_corners


@pytest.mark.parametrize("size_hw", [(64, 64), (65, 200), (300, 17), (1, 1), (256, 257)])
def test_every_pixel_lies_in_a_tile(size_hw):
    side = 64
    seen = np.zeros(size_hw, int)
    for top, left in tile_corners(size_hw, side):
        assert top == 0 or top + side <= size_hw[0]
        assert left == 0 or left + side <= size_hw[1]
        seen[top : top + side, left : left + side] += 1
    assert seen.min() >= 1


def test_neighbours_have_a_quarter_in_common():
    lefts = sorted({left for _, left in tile_corners((10, 1000), 100)})
    assert max(np.diff(lefts)) <= 75
    assert (lefts[0], lefts[-1]) == (0, 900)


def test_a_tile_beyond_the_border_is_black_there():
    image = np.full((5, 7, 3), 9, np.uint8)
    tile = cut_tile(image, (0, 0), 8)
    assert tile.shape == (8, 8, 3)
    assert (tile[:5, :7] == 9).all()
    assert tile.sum() == 9 * 5 * 7 * 3


@pytest.mark.parametrize("size_hw", [(40, 100), (16, 16), (7, 90)])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_student_of_pixels_gives_the_same_through_tiles(size_hw, batch_size):
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)

    def see(tiles):
        return [np.moveaxis(tile[..., :2], 2, 0).astype(np.float32) / 255 for tile in tiles]

    probs = see_in_tiles(image, 16, see, batch_size)
    assert probs.dtype == np.float32
    assert probs == pytest.approx(see([image])[0], abs=1e-5)


@pytest.mark.parametrize("size_hw", [(40, 100), (16, 16), (7, 90)])
def test_the_recipe_for_hosts_of_an_exported_file_gives_the_same(size_hw):
    text = (ROOT / ".github/docs/data.md").read_text("utf-8")
    (recipe,) = [
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "tiles(" in block
    ]
    told = {}
    exec(recipe, told)
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)

    def network(tile):  # what a tile says of a pixel depends on where it lies in it
        return np.moveaxis(tile[..., :2], 2, 0).astype(np.float32) / 255 * np.linspace(0, 1, 16)

    ours = see_in_tiles(image, 16, lambda tiles: [network(tile) for tile in tiles])
    assert told["see_in_tiles"](image, 16, network) == pytest.approx(ours, abs=1e-5)


def test_the_middle_of_a_tile_counts_most():
    image = np.zeros((16, 28, 3), np.uint8)  # tiles at 0 and 12
    answers = iter([np.zeros((1, 16, 16), np.float32), np.ones((1, 16, 16), np.float32)])
    probs = see_in_tiles(image, 16, lambda tiles: [next(answers) for _ in tiles])[0]
    assert probs[8, 12] < 0.5 < probs[8, 15]
    assert probs[8, 5] == 0
    assert probs[8, 20] == 1
