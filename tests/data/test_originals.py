"""Grey values of a source that `prepare` had to bring to 8 bits."""

import numpy as np
import pytest

from meddistill.base.errors import InputError
from meddistill.data.formats.pictures import write_png
from meddistill.data.intensity import IntensitySettings, to_8bit
from meddistill.data.originals import load_original, shown_window


@pytest.fixture
def deep():
    return np.random.default_rng(0).integers(0, 4000, (20, 30)).astype(np.uint16)


def test_a_16_bit_picture_has_its_own_values(tmp_path, deep):
    write_png(tmp_path / "in/a.png", deep)
    assert (load_original(tmp_path, "in/a.png", (20, 30)) == deep).all()


@pytest.mark.parametrize(
    ("source", "size", "why"),
    [
        ("gone.png", (20, 30), "has no gone.png"),
        ("../a.png", (20, 30), "has no ../a.png"),
        ("a.png", (20, 31), "no more grey values"),
        ("flat.png", (20, 30), "no more grey values"),
        ("a.png#7", (20, 30), "no image number 7"),
    ],
)
def test_what_has_no_more_says_so(tmp_path, deep, source, size, why):
    folder = tmp_path / "source"
    write_png(folder / "a.png", deep)
    write_png(folder / "flat.png", (deep // 16).astype(np.uint8))
    write_png(tmp_path / "a.png", deep)
    with pytest.raises(InputError, match=why):
        load_original(folder, source, size)


def test_what_is_shown_tells_the_window(deep):
    values = deep.astype(np.float32)
    shown = to_8bit(values, IntensitySettings(window=(1000, 2000)))
    assert shown_window(values, shown) == pytest.approx((1000, 2000), abs=5)
    assert shown_window(values, 255 - shown) == pytest.approx((2000, 1000), abs=5)
    black_and_white = np.where(shown > 127, 255, 0).astype(np.uint8)
    assert shown_window(values, black_and_white) == (values.min(), values.max())
