"""The demonstration of large images at toy size: the same images, seen in tiles and whole."""

import numpy as np
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script

TOY = (
    "prepare.workers=1",
    "distill.image_size=32",
    "distill.student=unet",
    "distill.encoder=tu-test_resnet",
    "distill.decoder_channels=[16,16,8,8,8]",
)


def test_both_ways_are_judged_on_the_same_lesions(tmp_path, monkeypatch):
    script = load_script("studies/large_images")
    monkeypatch.setattr(script, "STEPS", 6)
    table = script.demonstrate(
        tmp_path,
        side=256,
        lesion_px=16,
        counts=(3, 1, 2),
        overrides=TOY,
        teacher=PaintingTeacher(),
    )
    tiles, whole = table.splitlines()[2:]
    assert tiles.startswith("| in tiles | 32 | 16.0 | ")
    assert whole.startswith("| whole images | 32 | 2.0 | ")
    assert all(" of 2 | " in line for line in (tiles, whole))


def test_an_image_has_one_lesion_that_stands_out_at_its_own_size():
    script = load_script("studies/large_images")
    image, mask = script.draw_image(0, 512, 40)
    assert 0.9 < (mask > 0).sum() / (np.pi * 20**2) < 1.1
    again, _ = script.draw_image(0, 512, 40)
    np.testing.assert_array_equal(image, again)
