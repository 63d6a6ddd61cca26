"""review.html: what it says in figures, and how large it may become."""

from types import SimpleNamespace

import numpy as np

from meddistill.student.predictions_table import PredictedScan, PredictionRow
from meddistill.student.review_sheet import MOST_SHOWN, write_pictures, write_review_sheet
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
    assert "data:image/jpeg" in sheet_of(tmp_path, np.full((1, 1), 90, np.uint8))
