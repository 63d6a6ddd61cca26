"""What a kind of image file is. `known_image_formats` lists those that there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from meddistill.data.masks import Labels
from meddistill.data.raw_case import ImageRef, MaskRef


class ImageFormat(Protocol):
    """One file format of images, and of masks.

    `name`: what a mask writer goes by. `suffixes`: how its files' names end, in lower case.
    `is_volume`: the images of a file are slices of one body, along its axis 2, and not each a
    picture of its own.
    """

    name: str
    suffixes: tuple[str, ...]
    is_volume: bool

    def claims(self, path: Path) -> bool:
        """Whether the file is to be read as this format: by its name, or by a mark in its content
        whatever it is called."""
        ...

    def images(self, path: Path) -> Sequence[ImageRef]:
        """The images in a file, in their order; no pixels are read yet. Raises: InputError."""
        ...

    def mask(self, path: Path, index: int, labels: Labels) -> MaskRef:
        """The file as a mask of image `index`; `labels` as in `masks.read_mask`."""
        ...
