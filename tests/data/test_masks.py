import numpy as np
import pytest
from PIL import Image

from meddistill.base.errors import InputError
from meddistill.data.formats.pictures import write_png
from meddistill.data.masks import binarise, read_mask


def test_jpeg_noise_does_not_change_a_mask(tmp_path):
    truth = np.zeros((64, 64), dtype=bool)
    truth[20:40, 10:50] = True
    Image.fromarray(truth.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=90)
    assert len(np.unique(np.array(Image.open(tmp_path / "m.jpg")))) > 2
    assert (read_mask(tmp_path / "m.jpg") == truth).all()


def test_an_empty_jpeg_mask_is_empty(tmp_path):
    noise = np.random.default_rng(0).integers(0, 9, (32, 32)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "m.jpg")
    assert not read_mask(tmp_path / "m.jpg").any()


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 255], np.uint8, [False, True]),
        ([0, 1], np.uint8, [False, True]),
        ([0, 0], np.uint8, [False, False]),
        ([255, 255], np.uint8, [True, True]),
        ([127, 128], np.uint8, [False, True]),
        ([0, 65535], np.uint16, [False, True]),
        ([0, 255], np.uint16, [False, True]),
        ([0.0, 1.0], np.float32, [False, True]),
        ([False, True], bool, [False, True]),
    ],
)
def test_half_of_the_range_is_lesion(values, dtype, expected):
    assert binarise(np.array([values], dtype=dtype)).tolist() == [expected]


def test_rgb_masks_count_any_bright_channel():
    pixels = np.zeros((1, 2, 3), dtype=np.uint8)
    pixels[0, 1, 2] = 255
    assert binarise(pixels).tolist() == [[False, True]]


def test_label_numbers_are_not_taken_for_a_mask(tmp_path):
    write_png(tmp_path / "m.png", np.array([[0, 1, 2, 4]], dtype=np.uint8))
    with pytest.raises(InputError, match=r"m.png holds the values 0, 1, 2, 4, none at half of 255"):
        read_mask(tmp_path / "m.png")


def test_nan_and_negative_masks_are_refused():
    with pytest.raises(InputError, match="NaN"):
        binarise(np.array([[np.nan, 1.0]]))
    with pytest.raises(InputError, match="negative"):
        binarise(np.array([[-1, 1]]))
