"""Small NIfTI volumes with a bright body, in the layout of the Medical Segmentation Decathlon."""

import numpy as np
import pytest

SIDE, SLICES, BODY = 32, 12, range(3, 9)
SPACING = (1.0, 1.0, 2.5)


def voxels_of(seed):
    """Voxels (X, Y, Z) int16, and the mask of a body that is widest in its middle slice."""
    generator = np.random.default_rng(seed)
    voxels = generator.integers(0, 80, (SIDE, SIDE, SLICES)).astype(np.int16)
    mask = np.zeros(voxels.shape, np.uint8)
    x, y = np.mgrid[:SIDE, :SIDE]
    centre = 15 + generator.integers(-3, 4, 2)
    for number in BODY:
        radius = 8 - abs(number - 5.5)
        mask[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2, number] = 1
    voxels[mask > 0] += 150
    voxels[0, 0] = 0
    voxels[0, 1] = 255
    return voxels, mask


def write_volumes(root, count=4):
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([*SPACING, 1.0])
    for number in range(count):
        for folder, data in zip(("imagesTr", "labelsTr"), voxels_of(number), strict=True):
            path = root / folder / f"body_{number:02}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(data, affine), path)
