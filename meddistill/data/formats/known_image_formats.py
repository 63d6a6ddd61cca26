"""Which files of images can be read, and which of them a file is. To add a format: a module like
`dicom`, and a line here."""

from __future__ import annotations

from pathlib import Path

from meddistill.data.formats.dicom import DicomFormat
from meddistill.data.formats.image_format import ImageFormat
from meddistill.data.formats.picture_refs import PictureFormat
from meddistill.data.formats.volume_slices import ITK, NIFTI, PAGES

PICTURE: ImageFormat = PictureFormat()
_FORMATS: tuple[ImageFormat, ...] = (PICTURE, NIFTI, ITK, DicomFormat(), PAGES)
IMAGE_FORMATS = {each.name: each for each in _FORMATS}
SUFFIXES = tuple(suffix for each in IMAGE_FORMATS.values() for suffix in each.suffixes)
"""How the names of all their files end, in lower case; `.nii.gz` before `.nii`."""


def image_format_of(path: Path) -> ImageFormat:
    """The format of a file: the first that claims it; what none claims is read as a picture."""
    return next((each for each in IMAGE_FORMATS.values() if each.claims(path)), PICTURE)
