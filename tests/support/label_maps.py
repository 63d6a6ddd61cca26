"""A source whose masks tell two findings apart."""

import cv2
import numpy as np


def label_maps(root, count=6, values=(1, 2)):
    """Images with a label map each: the first value at the left, the second at the right."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        mask = np.zeros((40, 48), np.uint8)
        mask[5:15, 4:16], mask[20:34, 26:40] = values
        cv2.imwrite(str(root / "masks" / f"c{index}.png"), mask)
        image = rng.integers(0, 256, (40, 48), np.uint8)
        cv2.imwrite(str(root / "images" / f"c{index}.png"), image)
    return root
