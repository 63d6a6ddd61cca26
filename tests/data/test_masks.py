import io

import numpy as np
import pytest
from PIL import Image

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.black_and_white import binarise
from meddistill.data.formats.pictures import write_png
from meddistill.data.masks import numbered, parse_labels, read_mask, select_labels


def test_jpeg_noise_does_not_change_a_mask(tmp_path):
    truth = np.zeros((64, 64), dtype=bool)
    truth[20:40, 10:50] = True
    Image.fromarray(truth.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=90)
    assert len(np.unique(np.array(Image.open(tmp_path / "m.jpg")))) > 2
    assert (read_mask(tmp_path / "m.jpg") == truth).all()


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_areas_of_several_colours_are_not_one_lesion(tmp_path, ending):
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[8:24, 8:30, 0] = 255
    Image.fromarray(pixels).save(tmp_path / f"one.{ending}")
    assert read_mask(tmp_path / f"one.{ending}").sum() == pytest.approx(16 * 22, abs=8)
    pixels[40:56, 30:60, 1] = 255
    Image.fromarray(pixels).save(tmp_path / f"two.{ending}")
    with pytest.raises(InputError, match=r"areas in several colours \(#\w{6}, #\w{6}\): name the"):
        read_mask(tmp_path / f"two.{ending}")


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


def test_a_name_for_a_label_is_told_where_names_are_asked_for():
    told = (
        "or 'instances'; a name is asked for with --findings 'GTV', or 'GTV=VALUE' of a label map$"
    )
    with pytest.raises(ConfigError, match=told):
        parse_labels("GTV")
    with pytest.raises(ConfigError, match=r"or 'instances'$"):
        parse_labels("1;2")


def test_float_labels_of_volumes():
    assert select_labels(np.array([[0.0, 1.0, 2.0]]), (2.0,)).tolist() == [[False, False, True]]


def test_numbered_objects_are_no_black_and_white_mask():
    rows, columns = np.mgrid[:96, :160] // 8
    numbers = (rows * 20 + columns).astype(np.uint8)  # 0 to 239, a square of 8 px each
    with pytest.raises(InputError, match="the values 1 to 239, each on an area of its own"):
        binarise(numbers)


def test_soft_masks_and_smooth_edges_are_cut_at_half():
    y, x = np.mgrid[:64, :64] - 31.5
    soft = np.clip(255 * np.exp(-(x**2 + y**2) / 300), 0, 255).astype(np.uint8)
    assert binarise(soft).sum() == (soft >= 128).sum()
    edges = np.clip((20 - np.hypot(x, y)) * 40 + 128, 0, 255).astype(np.uint8)
    assert binarise(edges).sum() == (edges >= 128).sum()


def test_objects_are_numbered_by_value_or_colour():
    values = np.array([[0, 7, 7], [0, 0, 300]], dtype=np.uint16)
    assert numbered(values).tolist() == [[0, 1, 1], [0, 0, 2]]
    colours = np.zeros((2, 3, 3), dtype=np.uint8)
    colours[0, 1:], colours[1, 2] = (255, 0, 3), (0, 9, 0)
    assert numbered(colours).tolist() == [[0, 2, 2], [0, 0, 1]]
    assert not numbered(np.zeros((2, 2), np.uint8)).any()


@pytest.mark.parametrize(
    ("areas", "levels"),
    [((255, 128), "128, 255"), ((255, 1), "1, 255"), ((170, 85), "85, 170"), ((255, 254), "")],
)
def test_areas_of_several_greys_are_no_black_and_white_mask(areas, levels):
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[4:20, 4:20], mask[22:36, 22:36] = areas
    if not levels:
        assert binarise(mask)[5, 5]
        return
    with pytest.raises(InputError, match=f"values {levels}, each on an area of its own"):
        binarise(mask)


def test_soft_edges_are_no_areas():
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[4:30, 4:30], mask[6:28, 6:28], mask[8:26, 8:26] = 100, 180, 255
    assert binarise(mask).sum() == 22 * 22
