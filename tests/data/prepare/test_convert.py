"""One raw case becomes one PNG."""

import numpy as np
from PIL import Image, PngImagePlugin

from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.formats.pictures import encode_png, read_rgb
from meddistill.data.prepare.convert import ConvertSettings, convert
from meddistill.data.raw_case import RawCase

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([GREY, 255 - GREY, np.full_like(GREY, 30)], axis=2)


def as_file(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


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
