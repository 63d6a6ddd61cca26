"""Pixels and masks of every kind of file come out as what they show."""

import numpy as np
import pytest
from PIL import Image
from tifffile import imwrite

from meddistill.base.errors import InputError
from meddistill.data.formats.pictures import (
    encode_png,
    is_plain_png,
    load_picture,
    picture_size,
    read_rgb,
    write_png,
)
from meddistill.data.intensity import to_8bit

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([GREY, 255 - GREY, np.full_like(GREY, 30)], axis=2)


def as_file(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".gif"])
def test_grey_and_colour_come_back_exactly(tmp_path, suffix):
    assert (to_8bit(load_picture(as_file(tmp_path / f"g{suffix}", GREY))) == GREY).all()
    if suffix != ".gif":
        assert (load_picture(as_file(tmp_path / f"c{suffix}", COLOUR)) == COLOUR).all()


def test_grey_stored_as_colour_becomes_grey():
    assert to_8bit(np.repeat(GREY[..., None], 3, axis=2)).shape == GREY.shape


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_kept_and_then_stretched(tmp_path, suffix):
    deep = (GREY.astype(np.uint16) * 257) // 16  # 12-bit data in a 16-bit file
    pixels = load_picture(as_file(tmp_path / f"x{suffix}", deep))
    assert (pixels == deep).all()
    eight = to_8bit(pixels)
    assert (eight.min(), eight.max()) == (0, 255)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_16_bit_colour_keeps_its_lower_byte(tmp_path, name):
    import cv2

    deep = COLOUR.astype(np.uint16) + 300
    cv2.imwrite(str(tmp_path / name), deep[..., ::-1])
    assert (load_picture(tmp_path / name) == deep).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
def test_tiff_of_other_numbers(tmp_path, dtype):
    values = (GREY.astype(dtype) - 100) * 7
    imwrite(tmp_path / "x.tif", values)
    assert (load_picture(tmp_path / "x.tif") == values).all()


def test_colour_float_tiff(tmp_path):
    imwrite(tmp_path / "x.tif", COLOUR.astype(np.float32) / 255, photometric="rgb")
    assert load_picture(tmp_path / "x.tif") == pytest.approx(COLOUR / 255)


def test_what_is_transparent_is_black(tmp_path):
    alpha = np.zeros(GREY.shape, dtype=np.uint8)
    alpha[:3] = 255
    pixels = load_picture(as_file(tmp_path / "x.png", np.dstack([COLOUR, alpha])))
    assert (pixels[:3] == COLOUR[:3]).all()
    assert (pixels[3:] == 0).all()


def test_palette_gives_colours(tmp_path):
    image = Image.fromarray(COLOUR).quantize(48)
    image.save(tmp_path / "x.png")
    assert np.abs(load_picture(tmp_path / "x.png").astype(int) - COLOUR).max() < 30


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "x.jpg", quality=100)
    pixels = load_picture(tmp_path / "x.jpg")
    assert pixels.shape == COLOUR.shape
    assert np.abs(pixels.astype(int) - COLOUR).mean() < 12


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_picture(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / f"x.{ending}", exif=exif)
    shape = load_picture(tmp_path / f"x.{ending}").shape
    assert picture_size(tmp_path / f"x.{ending}") == shape[:2]
    assert shape[:2] == ((6, 4) if orientation >= 5 else (4, 6))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_obeyed(tmp_path, orientation):
    stored = Image.fromarray(np.kron(GREY, np.ones((8, 8), dtype=np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.jpg", exif=exif, quality=100)
    turn = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).T,
        8: np.rot90,
    }[orientation]
    expected = turn(np.asarray(stored))
    pixels = load_picture(tmp_path / "x.jpg")
    assert pixels.shape == expected.shape == picture_size(tmp_path / "x.jpg")
    assert np.abs(pixels.astype(int) - expected).mean() < 3


def test_one_bit_picture(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "x.png")
    assert np.unique(load_picture(tmp_path / "x.png")).tolist() == [0, 255]


def test_several_pages_are_not_one_image(tmp_path):
    first, *rest = [Image.fromarray(GREY + index) for index in range(3)]
    first.save(tmp_path / "x.tif", save_all=True, append_images=rest)
    with pytest.raises(InputError, match=r"x\.tif holds 3 pages, expected one image"):
        load_picture(tmp_path / "x.tif")


def test_png_round_trip(tmp_path):
    write_png(tmp_path / "g.png", GREY)
    write_png(tmp_path / "c.png", COLOUR)
    assert (read_rgb(tmp_path / "c.png") == COLOUR).all()
    assert (read_rgb(tmp_path / "g.png") == GREY[..., None]).all()


def test_what_counts_as_a_plain_png(tmp_path):
    assert is_plain_png(encode_png(GREY))
    assert is_plain_png(encode_png(COLOUR))
    assert not is_plain_png(encode_png(GREY) + b"more")
    assert not is_plain_png(encode_png(GREY)[:-4])
    assert not is_plain_png(encode_png(GREY.astype(np.uint16)))
    palette = Image.fromarray(GREY).convert("P")
    palette.save(tmp_path / "p.png")
    assert not is_plain_png((tmp_path / "p.png").read_bytes())
    assert not is_plain_png(as_file(tmp_path / "g.jpg", GREY).read_bytes())
