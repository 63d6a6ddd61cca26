import io

import cv2
import numpy as np
import pytest
from PIL import Image

from meddistill.data.prepare.duplicates import HASH_BITS, near_duplicates, perceptual_hash


def picture(seed, side=96):
    """Smooth blobs on black, as organs are."""
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    blobs = cv2.GaussianBlur(noise, (0, 0), side / 12)
    return np.clip(128 + 50 * blobs / blobs.std(), 0, 255).astype(np.uint8)


def distance(first, second):
    bits = int(perceptual_hash(first), 16) ^ int(perceptual_hash(second), 16)
    return bits.bit_count()


def jpeg(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=80)
    return np.array(Image.open(content))


CHANGES = {
    "itself": lambda pixels: pixels,
    "as JPEG": jpeg,
    "half its size": lambda pixels: cv2.resize(pixels, (48, 48), interpolation=cv2.INTER_AREA),
    "brighter": lambda pixels: np.clip(pixels * 1.1 + 5, 0, 255).astype(np.uint8),
    "as colour": lambda pixels: np.repeat(pixels[..., None], 3, axis=2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_looks_the_same(change):
    assert all(distance(picture(seed), CHANGES[change](picture(seed))) <= 24 for seed in range(10))


def test_another_picture_looks_different():
    assert all(distance(picture(seed), picture(seed + 100)) > 100 for seed in range(10))


def test_a_hash_has_its_bits_also_of_tiny_pictures():
    assert len(perceptual_hash(np.array([[1, 9]], dtype=np.uint8))) * 4 == HASH_BITS


def test_only_pairs_across_splits_are_told():
    hashes = [perceptual_hash(picture(seed)) for seed in (1, 1, 2, 1)]
    assert near_duplicates(hashes, ["train", "train", "test", "test"], 24) == [(0, 3, 0), (1, 3, 0)]
    assert near_duplicates(hashes, ["train"] * 4, 24) == []
    assert near_duplicates([], [], 24) == []
