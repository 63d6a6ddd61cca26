"""From any range of values to 8 bits."""

import numpy as np
import pytest

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.intensity import IntensitySettings, parse_window, to_8bit

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def test_8_bits_stay_unless_told_otherwise():
    assert (to_8bit(GREY) == GREY).all()
    assert to_8bit(GREY // 2, IntensitySettings("full")).max() == 255


def test_outliers_do_not_darken_the_rest():
    pixels = np.linspace(0, 1000, 10_000).reshape(100, 100)
    pixels[0, 0] = 1e6
    assert to_8bit(pixels)[50].mean() == pytest.approx(128, abs=3)
    assert to_8bit(pixels, IntensitySettings("full"))[50].mean() < 1


def test_the_users_window_goes_over_the_files():
    values = np.array([[-1000.0, -160, 40, 240, 3000]])
    assert to_8bit(values, file_window=(-160, 240)).tolist() == [[0, 0, 128, 255, 255]]
    settings = IntensitySettings(window=parse_window("40,400"))
    assert to_8bit(values, settings, file_window=(0, 1)).tolist() == [[0, 0, 128, 255, 255]]
    assert to_8bit(values, IntensitySettings("full"), file_window=(0, 1)).tolist()[0][-1] == 255


def test_slices_may_be_stretched_by_their_volume_or_alone():
    values = np.array([[0.0, 100.0]])
    assert to_8bit(values, volume_limits=(0, 1000)).tolist() == [[0, 26]]
    assert to_8bit(
        values, IntensitySettings(per_volume=False), volume_limits=(0, 1000)
    ).tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 4), 7, dtype=np.uint8), "constant: every pixel is 7"),
        (np.array([[0.0, np.nan]]), "NaN or infinity"),
        (np.array([[0.0, np.inf]]), "NaN or infinity"),
        (np.zeros((0, 4), dtype=np.uint8), "no pixels"),
    ],
)
def test_images_that_show_nothing_are_refused(pixels, message):
    with pytest.raises(InputError, match=message):
        to_8bit(pixels)


@pytest.mark.parametrize("text", ["40", "a,b", "40,0", "40,-3", "nan,3", "1,2,3"])
def test_bad_windows_are_refused(text):
    with pytest.raises(ConfigError, match=f"window is '{text}'"):
        parse_window(text)
