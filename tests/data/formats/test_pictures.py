"""Pixels and masks of every kind of file come out as what they show."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tifffile import imwrite

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.formats.pictures import (
    encode_png,
    is_plain_png,
    load_picture,
    picture_size,
    read_rgb,
    write_png,
)
from meddistill.data.intensity import IntensitySettings, parse_window, to_8bit
from meddistill.data.masks import parse_labels, read_mask, select_labels
from meddistill.data.prepare.convert import ConvertSettings, convert
from meddistill.data.raw_case import RawCase

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


# --- to 8 bits
# --------------------------------------------------------------------------------------------------------


def test_a_png_as_we_write_it_is_taken_as_it_is_and_notes_beside_the_pixels_are_not(tmp_path):
    def converted(path):
        convert(
            RawCase("a", path.name, ImageFile(path)),
            path.stem,
            tmp_path,
            ConvertSettings(min_area_px=1),
        )
        return (tmp_path / f"{path.stem}.png").read_bytes()

    (tmp_path / "source").mkdir()
    other_encoder = as_file(tmp_path / "source" / "plain.png", COLOUR, compress_level=9)
    assert converted(other_encoder) == other_encoder.read_bytes()
    assert (read_rgb(tmp_path / "plain.png") == COLOUR).all()
    notes = PngImagePlugin.PngInfo()
    notes.add_text("PatientName", "Somebody")
    noted = as_file(tmp_path / "source" / "noted.png", COLOUR, pnginfo=notes)
    assert b"Somebody" in noted.read_bytes()
    assert converted(noted) == encode_png(COLOUR)


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


# --- masks
# ------------------------------------------------------------------------------------------------------------


def test_labels_are_chosen_by_value(tmp_path):
    write_png(tmp_path / "m.png", np.array([[0, 1, 2, 4]], dtype=np.uint8))
    assert read_mask(tmp_path / "m.png", parse_labels("1,4")).tolist() == [
        [False, True, False, True]
    ]
    assert read_mask(tmp_path / "m.png", parse_labels("any")).tolist() == [
        [False, True, True, True]
    ]


def test_labels_are_chosen_by_colour(tmp_path):
    pixels = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    write_png(tmp_path / "m.png", pixels)
    assert read_mask(tmp_path / "m.png", parse_labels("#ff0000,#0000FF")).tolist() == [
        [False, True, False, True]
    ]
    assert read_mask(tmp_path / "m.png", parse_labels("any")).tolist() == [
        [False, True, True, True]
    ]
    with pytest.raises(InputError, match="mask is a colour image; name colours"):
        read_mask(tmp_path / "m.png", parse_labels("1"))


def test_colours_of_a_palette_mask(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode="P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", parse_labels("1")).tolist() == [[False, True, False]]
    assert read_mask(tmp_path / "m.png", parse_labels("#800000")).tolist() == [[False, True, False]]


def test_a_black_and_white_palette_counts_by_what_it_shows(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white
    image.save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[True, False]]


def test_jpeg_colours_have_tolerance_and_values_none(tmp_path):
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:, 8:] = (255, 0, 0)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95)
    (tmp_path / "m.jpg").write_bytes(content.getvalue())
    assert read_mask(tmp_path / "m.jpg", parse_labels("#ff0000")).mean() == pytest.approx(
        0.5, abs=0.05
    )
    with pytest.raises(InputError, match=r"m\.jpg is compressed with loss"):
        read_mask(tmp_path / "m.jpg", parse_labels("1"))


@pytest.mark.parametrize("text", ["red", "1,#ff0000", "#ff00", "1;2"])
def test_bad_labels_are_refused(text):
    with pytest.raises(ConfigError, match=f"label is '{text}'"):
        parse_labels(text)


def test_float_labels_of_volumes():
    assert select_labels(np.array([[0.0, 1.0, 2.0]]), (2.0,)).tolist() == [[False, False, True]]
