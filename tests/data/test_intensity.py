"""From any range of values to 8 bits."""

import numpy as np
import pytest

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.intensity import (
    IntensitySettings,
    parse_window,
    percentile_limits,
    to_8bit,
)

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def test_8_bits_stay_unless_told_otherwise():
    assert (to_8bit(GREY) == GREY).all()
    assert to_8bit(GREY // 2, IntensitySettings("full")).max() == 255


def test_outliers_do_not_darken_the_rest():
    pixels = np.linspace(0, 1000, 10_000).reshape(100, 100)
    pixels[0, 0] = 1e6
    assert to_8bit(pixels)[50].mean() == pytest.approx(128, abs=3)
    assert to_8bit(pixels, IntensitySettings("full"))[50].mean() < 1


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("size", [2, 7, 200, 201, 300_000])
def test_percentiles_are_numpys_whichever_way_they_are_found(dtype, size):
    limits = (0, 2) if dtype is bool else (0, 256) if dtype is np.uint8 else (0, 32_000)
    values = np.random.default_rng(size).integers(*limits, (1, size))
    if np.dtype(dtype).kind in "if":
        values -= 16_000
    values[0, :2] = limits[0], limits[1] - 1
    pixels = values.astype(dtype)
    expected = np.percentile(pixels.astype(float if dtype is bool else dtype), (0.5, 99.5))
    assert percentile_limits(pixels) == tuple(expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64])
def test_a_window_gives_the_same_bytes_for_every_kind_of_number(dtype):
    values = np.random.default_rng(0).integers(0, 120, (40, 50))
    window = parse_window("57.3,61.7")
    stretched = to_8bit(values.astype(dtype), IntensitySettings(window=window))
    low, high = window
    expected = np.clip(values, low, high).astype(np.float32) - np.float32(low)
    assert (stretched == np.rint(expected * np.float32(255 / (high - low)))).all()


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
