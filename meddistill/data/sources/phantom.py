"""Sample data without a download: procedural slices that look like contrast-enhanced head MRI, with
lesions and masks.

No anatomy is claimed: the slices have what makes the task honest (folded cortex, ventricles, bright
scalp and vessels, bias field, Rician noise, lesions from faint to bright). Lengths are px of a 256
px slice; grey values before noise lie in [0, 1]. A head is drawn once and cut at several heights,
so that neighbouring slices of a group agree.

Lesions were matched to tumours in contrast-enhanced T1 MRI. Percentiles 5, 50, 95 of 150 drawn
slices, and of 300 of doi:10.6084/m9.figshare.1512427.v5: share of the image 0.4, 1.2, 3.5 % (real
0.3, 1.2, 4.7), length over width 1.1, 1.5, 2.6 (real 1.1, 1.4, 2.3), contrast to the ring around
the lesion -0.3, 0.5, 1.2 (real -0.3, 0.5, 1.6).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator

from meddistill.base.console import track
from meddistill.base.errors import ConfigError
from meddistill.base.files import atomic_path
from meddistill.data.formats.pictures import write_png
from meddistill.data.sources.phantom_heads import draw_head
from meddistill.data.sources.phantom_slices import SCALE_PX, cut_slice
from meddistill.run.layout import GROUPS_CSV

SLICES_PER_GROUP = 2


def draw_slice(rng: Generator, size: int = SCALE_PX) -> tuple[np.ndarray, np.ndarray, str]:
    """One slice of a random head.

    Returns the image uint8 (size, size), its lesions' mask bool (size, size) (all False where there
    is none), and the class: one of `phantom_heads.CLASSES`.
    """
    head = draw_head(rng)
    return cut_slice(head, rng.uniform(-0.5, 0.5), rng, size)


def write_phantom(directory: Path, *, cases: int, seed: int, size: int = SCALE_PX) -> None:
    """Write a source of the `folder` layout: images/ID.png, masks/ID.png (0/255) and groups.csv
    (id,group,class).

    A group is one head, cut at up to `SLICES_PER_GROUP` neighbouring heights. Same seed, same
    bytes. Raises: ConfigError for fewer than one case or a size below 64 px.

    Args:
        directory: the folder to write.
        cases: how many slices; a larger number only adds heads.
        seed: draws the heads.
        size: side of a slice, px.
    """
    if cases < 1:
        raise ConfigError(f"a phantom needs at least 1 case, got {cases}")
    if size < 64:
        raise ConfigError(f"a phantom slice is at least 64 px wide, got {size}")
    lines = ["id,group,class"]
    heads = -(-cases // SLICES_PER_GROUP)
    for group in track(range(heads), "drawing heads", heads):
        rng = np.random.default_rng([seed, group])
        head = draw_head(rng)
        heights = rng.uniform(-0.35, 0.35) + np.linspace(-0.12, 0.12, SLICES_PER_GROUP)
        for index in range(min(SLICES_PER_GROUP, cases - group * SLICES_PER_GROUP)):
            image, mask, class_name = cut_slice(head, float(heights[index]), rng, size)
            case_id = f"h{group:04d}_{index}"
            write_png(directory / "images" / f"{case_id}.png", image)
            write_png(directory / "masks" / f"{case_id}.png", mask.astype(np.uint8) * 255)
            lines.append(f"{case_id},h{group:04d},{class_name}")
    with atomic_path(directory / GROUPS_CSV) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
