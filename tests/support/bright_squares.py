"""A RUN of dark pictures, each with one bright square that is its lesion, most of them unboxed."""

import numpy as np

from meddistill.data.formats.pictures import write_png
from meddistill.run.layout import RunDir
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare

SIZE = 64


def square(index):
    """Picture uint8 (64, 64, 3) and mask bool of number `index`; sides lie on the teacher's grid."""
    rng = np.random.default_rng(index)
    x, y = 8 * rng.integers(0, 5, 2)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[y : y + 24, x : x + 16] = True
    image = rng.integers(20, 70, (SIZE, SIZE, 3), dtype=np.uint8)
    image[mask] = rng.integers(180, 250)
    return image, mask


def write_squares(folder, count, empty=0):
    """`images/` and `masks/`; the first `empty` pictures have no square."""
    for index in range(count):
        image, mask = square(index)
        if index < empty:
            image[mask], mask[:] = 40, False
        write_png(folder / "images" / f"{index:03d}.png", image)
        write_png(folder / "masks" / f"{index:03d}.png", mask.astype(np.uint8) * 255)


def prepare_squares(root, *, count=24, boxed=6, **settings):
    """A prepared RUN with `boxed` boxed training pictures (0 keeps all boxes), no validation."""
    write_squares(root / "source", count)
    run = RunDir(root / "run")
    config = PrepareConfig(
        source=str(root / "source"),
        dataset="folder",
        test_fraction=0.2,
        val_fraction=0.0,
        duplicate_bits=0,
        box_count=boxed,
        **settings,
    )
    run_prepare(run, config, seed=0)
    return run
