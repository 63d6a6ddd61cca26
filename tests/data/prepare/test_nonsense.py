"""What cannot be meant is said, with the figure that shows it, the first files, and what overrules it."""

import dataclasses

import numpy as np
import pytest
from support.layouts import SIZE, image, mask, save
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.black_and_white import binarise
from meddistill.data.prepare.box_doubts import slips
from meddistill.data.prepare.convert import Converted
from meddistill.data.prepare.doubts import Seen
from meddistill.data.prepare.nonsense import CHECKS, STOPS, doubts_about
from meddistill.data.raw_case import RawCase


def folder(root, masks, count=4):
    for number in range(count):
        save(root / "images" / f"{number}.png", image(number))
        save(root / "masks" / f"{number}.png", masks(number))
    return root


def boxes_table(root, boxes, count=12):
    for number in range(count):
        save(root / "images" / f"{number}.png", np.repeat(image(number), 2, axis=1))  # 48x24
    rows = [f"{number}.png,{','.join(map(str, boxes(number)))}" for number in range(count)]
    (root / "boxes.csv").write_text("\n".join(["image,x1,y1,x2,y2", *rows]) + "\n")
    return root


STOPPING = {
    "the background is marked": (
        lambda root: folder(root, lambda n: 255 - mask()),
        r"masks of 4 of 4 images mark 94 % .*\(images/0.png, images/1.png, images/2.png, \.\.\.\)",
        "whole-picture",
    ),
    "all is marked": (
        lambda root: folder(root, lambda n: mask() * 0 + 255),
        r"masks of 4 of 4 images mark 100 %",
        "whole-picture",
    ),
    "nothing is marked": (
        lambda root: folder(root, lambda n: mask(0)),
        r"annotations of 4 images yield not a single box: every mask is empty",
        "no-box",
    ),
    "x and y exchanged": (
        lambda root: boxes_table(root, lambda n: (3 + n % 3, 26, 11, 44)),
        r"boxes of 12 of 12 images lie outside.*all would fit with x and y exchanged",
        "outside",
    ),
    "corners where centres are expected": (
        lambda root: boxes_table(root, lambda n: (-6, -4 - n % 3, 8, 6)),
        r"boxes of 12 of 12 images lie outside.*is their corner given where a centre is expected",
        "outside",
    ),
    "boxes of a larger copy": (
        lambda root: boxes_table(root, lambda n: (60, 20 + n % 2, 90, 40)),
        r"12 of 12 images lie outside.*they would fit pictures 1.9 times as large",
        "outside",
    ),
}


@pytest.mark.parametrize("what", STOPPING)
def test_it_stops_and_may_be_overruled(tmp_path, what, prepare):
    make, message, name = STOPPING[what]
    make(tmp_path / "source")
    with pytest.raises(InputError, match=rf"{message}.*; --accept {name} goes on") as caught:
        prepare(tmp_path / "source", **ALL_IN_TRAINING)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    if name != "outside":  # no case would be left
        _, cases, _ = prepare(tmp_path / "source", accept=[name], **ALL_IN_TRAINING)
        assert len(cases) == 4


def test_what_is_left_of_a_label_map_is_no_data_set(tmp_path, prepare):
    """Masks that are white alone pass for black and white; those that have a grey area do not."""

    def drawn(number):
        white = mask()
        white[:6, :6] = 128 if number > 1 else 0
        return white

    folder(tmp_path / "source", drawn, count=9)
    with pytest.raises(
        InputError,
        match=r"7 of 9 images cannot be used, 7 of them alike .*values 128, 255, each on an area of "
        r"its own.*--label 255 or --label 128,255.*--findings a1=128,a2=255",
    ):
        prepare(tmp_path / "source", **ALL_IN_TRAINING)


def test_masks_of_other_names_stop_before_anything_is_read(tmp_path, prepare):
    for number in range(5):
        save(tmp_path / "source" / "images" / f"{number}.png", image(number))
        save(
            tmp_path / "source" / "masks" / f"{number if number < 1 else f'x{number}'}.png", mask()
        )
    with pytest.raises(
        InputError, match=r"4 of 5 masks have no image of their name \(masks/x1.png"
    ):
        prepare(tmp_path / "source", **ALL_IN_TRAINING)


def test_masks_of_half_the_size_may_be_resampled(tmp_path, prepare):
    folder(tmp_path / "source", lambda n: mask()[::2, ::2])
    with pytest.raises(InputError, match=r"4 of 4 images have another size.*--fit-masks"):
        prepare(tmp_path / "source", **ALL_IN_TRAINING)
    _, cases, _ = prepare(tmp_path / "source", fit_masks=True, min_area_px=1, **ALL_IN_TRAINING)
    assert {case.annotation for case in cases.values()} == {"boxes"}


def test_an_unknown_check_names_the_nearest(tmp_path, prepare):
    folder(tmp_path / "source", lambda n: mask())
    with pytest.raises(ConfigError, match=r"accept is 'no-boxes'; did you mean 'no-box'\?"):
        prepare(tmp_path / "source", accept=["no-boxes"])


def test_a_bright_background_of_a_colour_mask_is_no_lesion():
    colours = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    colours[:] = (30, 144, 255)
    colours[4:9, 4:9] = (255, 0, 0)
    with pytest.raises(InputError, match=r"background #1e90ff would count as lesion.*--label"):
        binarise(colours, name="m.png")
    colours[:] = 0
    colours[4:9, 4:9] = (255, 0, 0)
    assert binarise(colours).sum() == 25


class Nowhere:
    files = ()
    token = ""


def seen(boxes, count=24, looks=None, reasons=None):
    pairs = []
    for number in range(count):
        drawn = tuple(tuple(map(float, box)) for box in boxes(number))
        case = RawCase(str(number), f"{number}.png", Nowhere(), boxes_xyxy_px=drawn)
        result = Converted(
            "key",
            height=100,
            width=120,
            boxes=[list(box) for box in drawn],
            looks=looks or str(number),
            reason=(reasons or {}).get(number, ""),
        )
        pairs.append((case, result))
    return Seen(pairs, [], True)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            seen(lambda n: [(80, 10 + n, 104, 26 + n)]),
            "all 24 boxes of 24 images are 24x16 px (0.png,",
        ),
        (seen(lambda n: [(0, 10, 20 + n, 80)]), "24 of 24 boxes touch the border"),
        (seen(lambda n: [(n, n, 30 + n, 50)]), "lie in the upper left 50 % of width and height"),
        (seen(lambda n: [(n, n, 90, 90)], looks="same"), "24 of 24 images look the same"),
        (
            seen(lambda n: [(n, n, 90, 90)], reasons=dict.fromkeys((3, 4), "image is constant: 0")),
            "2 of 24 images hold one value alone and are left out (3.png, 4.png)",
        ),
        (
            seen(lambda n: [(20, 20, 25, 22) if n == 7 else (n, n, 90, 90)]),
            "1 of 24 boxes is absurdly small beside the others, of about 78x78 px (7.png: 5x2 px): a",
        ),
        (
            seen(lambda n: [(20, 20, 24, 25) if n in (3, 7) else (n, n, 90, 90)]),
            "2 of 24 boxes are absurdly small beside the others, of about 76x76 px (3.png: 4x5 px, 7",
        ),
    ],
)
def test_it_is_said_and_goes_on(found, text):
    (warning,) = doubts_about(found, [])
    assert text in warning


def test_small_boxes_among_small_ones_and_specks_of_masks_give_no_word():
    assert slips({"a": np.array([[0, 0, 2, 2], [5, 5, 8, 9], [7, 7, 10, 12]])}) == []
    assert slips({"a": np.array([[0, 0, 4, 4], [5, 5, 95, 95]])}) == []  # of two one is not odd
    assert slips({}) == []
    found = seen(lambda n: [(20, 20, 25, 22) if n == 7 else (n, n, 90, 90)])
    pairs = [(dataclasses.replace(case, boxes_xyxy_px=None), done) for case, done in found.pairs]
    assert doubts_about(Seen(pairs, [], True), []) == []


def test_what_is_in_order_gives_no_word():
    assert doubts_about(seen(lambda n: [(5 + n, 3 + n, 70 + 2 * n, 90 - n)]), []) == []
    assert len(CHECKS) >= len(STOPS)
