"""review.html: what it says in figures, and how large it may become."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from meddistill.data.formats.pictures import read_rgb
from meddistill.data.overlays import DARK_RED
from meddistill.student.predictions_table import PredictedScan, PredictionRow
from meddistill.student.review_sheet import MOST_SHOWN, write_pictures, write_review_sheet
from meddistill.student.to_look_at import what_to_look_at
from meddistill.student.trust.reading import OfFinding, Reading

READING = Reading(0.0349, (OfFinding(0.1079, 0.0061, 0.2999, 0.1251, 0.5),))


def predicted(image, name="a"):
    mask = np.zeros((1, *image.shape[:2]), bool)
    mask[0, : image.shape[0] // 2 + 1] = True
    scan = SimpleNamespace(
        images=[image],
        is_stack=False,
        is_volume=False,
        path=f"{name}.png",
        spacing_hw_mm=None,
        voxel_mm3=None,
    )
    return PredictedScan(name, scan, [mask * np.float32(0.9)], [mask], readings=[READING])


ALONE = Reading(0.3, (OfFinding(),), least=0.01)


def several(tmp_path, readings):
    """The sheet of single pictures that the student says this of."""
    rows = []
    for number, reading in enumerate(readings):
        scan = predicted(np.full((40, 50), 90, np.uint8), f"c{number}")
        scan = dataclasses.replace(scan, readings=[reading])
        write_pictures(tmp_path, scan)
        rows.append(PredictionRow.of(scan, 0, "masks/a.png"))
    write_review_sheet(tmp_path / "review.html", tmp_path, rows)
    return rows, (tmp_path / "review.html").read_text()


def test_where_only_familiarity_is_known_nobody_is_told_that_all_is_well(tmp_path):
    far = dataclasses.replace(ALONE, familiarity=0.1)
    rows, page = several(tmp_path, [ALONE, far])
    told = (
        "hat to look at is unknown: of 2 image(s) only familiarity was measured, which is as of own"
    )
    assert what_to_look_at(rows).startswith(f"w{told}")
    assert f"W{told}" in page
    assert "<h1>Predictions, least familiar first</h1>" in page
    assert 'name="viewport"' in page  # a telephone shows it at its own width
    assert "prefers-color-scheme: dark" in page
    assert page.index("<b>c1<") < page.index("<b>c0<")
    few = dataclasses.replace(ALONE, least=0.2)
    assert what_to_look_at(several(tmp_path, [few])[0]).endswith("only familiarity was measured")


def test_where_nothing_is_known_nothing_is_ranked(tmp_path):
    rows, page = several(tmp_path, [None, None])
    assert what_to_look_at(rows) == (
        "what to look at is unknown: of 2 image(s) nothing was measured"
    )
    assert "<h1>Predictions</h1>" in page
    assert "first" not in page


def test_what_is_unknown_is_counted_apart(tmp_path):
    rows, page = several(tmp_path, [READING, ALONE])
    told = "1 of 2 image(s) to be looked at; of 1 more only familiarity was measured"
    assert told in what_to_look_at(rows)
    assert told in page
    assert "<h1>Predictions, worst first</h1>" in page


def test_answers_of_several_findings_are_counted_as_such(tmp_path):
    rows, _ = several(tmp_path, [READING, READING])
    rows = [dataclasses.replace(row, finding=name) for row in rows for name in ("a", "b")]
    assert what_to_look_at(rows) == "4 of 4 answer(s) (2 image(s), 2 findings) to be looked at"
    (tmp_path / "review" / "c0+a.jpg").write_bytes(b"")
    write_review_sheet(tmp_path / "review.html", tmp_path, rows)
    page = (tmp_path / "review.html").read_text()
    assert "4 of 4 answer(s) (2 image(s), 2 findings) to be looked at. 1 have a picture" in page


def sheet_of(tmp_path, image, measured=()):
    scan = predicted(image)
    write_pictures(tmp_path, scan)
    row = PredictionRow.of(scan, 0, "masks/a.png")
    write_review_sheet(tmp_path / "review.html", tmp_path, [row], measured)
    return (tmp_path / "review.html").read_text()


def test_figures_are_rounded_and_said_alike(tmp_path):
    page = sheet_of(tmp_path, np.full((40, 50), 90, np.uint8))
    assert "expected Dice 0.11 (0.01 to 0.30); familiarity 0.035; anything there: 0.13" in page
    assert "expected Dice 0.11; perhaps nothing there (p 0.13)" in page


def test_what_was_measured_of_the_numbers_stands_beside_them(tmp_path):
    image = np.full((40, 50), 90, np.uint8)
    assert "not measured: <code>meddistill eval" in sheet_of(tmp_path, image)
    page = sheet_of(tmp_path, image, ["off by 0.2 on <27> images", "nine in ten"])
    assert "<li>off by 0.2 on &lt;27&gt; images</li><li>nine in ten</li>" in page


def test_a_thousand_pictures_of_noise_are_a_page_that_opens(tmp_path):
    """Noise is what JPEG makes most of."""
    noise = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    page = sheet_of(tmp_path, noise)
    assert MOST_SHOWN * (len(page) - page.index("<figure")) <= 20_000_000


def test_a_tall_picture_leaves_room_for_the_others(tmp_path):
    """An image of 300 rows and one column would be 300 times as high as it is wide."""
    page = sheet_of(tmp_path, np.arange(300, dtype=np.uint8)[:, None])
    (style,) = [line for line in page.splitlines() if line.startswith("img {")]
    assert "max-height" in style
    assert "object-fit: contain" in style


def test_one_pixel_is_a_picture(tmp_path):
    assert "data:image/png" in sheet_of(tmp_path, np.full((1, 1), 90, np.uint8))


def test_a_small_picture_is_drawn_large_enough_for_its_outlines(tmp_path):
    """A browser would stretch it, and smear them."""
    noise = np.random.default_rng(0).integers(0, 255, (52, 38), dtype=np.uint8)
    assert "data:image/png" in sheet_of(tmp_path, noise)
    drawn = read_rgb(tmp_path / "review" / "a.png")
    assert drawn.shape == (260, 190, 3)
    dark_red = (drawn == DARK_RED).all(axis=2)
    assert dark_red[27 * 5 - 1, 1:-1].all()
    assert not dark_red[27 * 5 :].any()
    assert (drawn[27 * 5 + 2 :: 5, 2::5, 0] == noise[27:]).all()


@pytest.mark.parametrize("side", [60, 128, 129])
def test_small_pictures_of_noise_fit_the_page_too(tmp_path, side):
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    page = sheet_of(tmp_path, noise)
    assert MOST_SHOWN * (len(page) - page.index("<figure")) <= 20_000_000


def test_the_picture_of_another_prediction_is_no_longer_shown(tmp_path):
    for side in (40, 300):
        sheet_of(tmp_path, np.full((side, side), 90, np.uint8))
    assert [path.name for path in (tmp_path / "review").iterdir()] == ["a.jpg"]
