"""Small pictures for the strip below the image, made when they are first looked at."""

from __future__ import annotations

import contextlib
from pathlib import Path

from meddistill.base.files import atomic_path
from meddistill.data.formats.pictures import encode_jpeg
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case

SIDE = 128
"""Longest side, px."""


class Thumbnails:
    """JPEGs of the images of `data`, kept below `folder` by the hash of each."""

    def __init__(self, folder: Path, data: Dataset) -> None:
        self.folder = folder
        self.data = data

    def of_case(self, case: Case) -> bytes:
        """Raises: InputError for an image that cannot be read."""
        path = self.folder / f"{case.sha256[:24]}.jpg"
        try:
            return path.read_bytes()
        except OSError:  # not made yet
            content = encode_jpeg(self.data.image(case), max_side=SIDE, quality=80)
        # A full disk costs the copy, not the picture.
        with contextlib.suppress(OSError), atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return content
