"""What part f of `scripts/bench/run.py` compares `meddistill prepare` with: a plain loop in one
process.

Needs a folder with `images/` and `masks/`. Takes seconds.

    .venv/bin/python scripts/bench/plain_prepare.py SOURCE OUT

Reads SOURCE/images and SOURCE/masks, writes PNGs and YOLO labels to OUT, and removes OUT again.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np
from skimage.measure import label, regionprops


def prepare_in_a_loop(source: Path, out: Path) -> None:
    """Images and masks of a folder to PNGs and YOLO labels, one after the other in one process."""
    for kind in ("images", "masks", "labels"):
        (out / kind).mkdir(parents=True)
    for path in sorted((source / "images").iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(source / "masks" / path.name), cv2.IMREAD_GRAYSCALE) >= 128
        lines = []
        for region in regionprops(label(mask, connectivity=2)):
            y1, x1, y2, x2 = region.bbox
            height, width = mask.shape
            lines.append(
                f"0 {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} "
                f"{(y2 - y1) / height}"
            )
        cv2.imwrite(str(out / "images" / path.name), image)
        cv2.imwrite(str(out / "masks" / path.name), mask.astype(np.uint8) * 255)
        (out / "labels" / f"{path.stem}.txt").write_text("\n".join(lines))
    shutil.rmtree(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", type=Path, help="folder with images/ and masks/, equal file names"
    )
    parser.add_argument(
        "out", type=Path, help="folder to write; must not hold images/, masks/ or labels/ yet"
    )
    arguments = parser.parse_args()
    prepare_in_a_loop(arguments.source, arguments.out)
