"""What lies in a folder of DICOM files: images, what holds their masks, and what is neither."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.errors import InputError, MissingPackageError, why_rejected
from meddistill.base.paths import shown
from meddistill.data.formats.dicom import Header, is_dicom, read_header
from meddistill.data.formats.dicom_contours import Structures, read_structures
from meddistill.data.formats.dicom_segmentations import Segmentation, read_segmentation
from meddistill.data.formats.dicom_series import has_no_ending
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.sources.dicom_masks import masks_among
from meddistill.data.sources.file_roles import fits
from meddistill.data.sources.source import SourceOptions
from meddistill.data.sources.walking import walk_files
from meddistill.run.tables import Rejected


class DicomFiles:
    """What lies in the folder: `images` with their headers, `segmentations`, `structures`, `masks`
    that belong to images by names, and what is none of them. What `options` say of images and masks
    goes before folders. Raises: InputError where that fits nothing."""

    def __init__(self, directory: Path, options: SourceOptions) -> None:
        self.images: dict[Path, Header] = {}
        self.segmentations: list[Segmentation] = []
        self.structures: list[Structures] = []
        self.masks: list[Path] = []
        self.unused: list[Rejected] = []
        self._directory, self._options = directory, options
        found, self.rejected = walk_files(directory, directory)
        self._named_masks = masks_among(found, directory)
        named = {path for path in found if options.images and fits(path, directory, options.images)}
        if named <= self._named_masks:  # `ct/*` also fits masks/ct/
            self._named_masks -= named
        for path in found:
            is_picture = path.suffix.lower() in IMAGE_SUFFIXES
            if path.name == "DICOMDIR" or not (is_picture or is_dicom(path)):
                if path.suffix.lower() == ".dcm":
                    self._reject(path, "not a DICOM file")
                elif has_no_ending(path) and not path.stat().st_size:
                    self._reject(path, "is empty")  # still being copied?
            elif self._is_mask(path) and not _names_its_images(path):
                self._take_mask(path)
            elif is_picture:
                self._reject(path, "not a DICOM file")
            else:
                try:
                    self._sort_in(path)
                except MissingPackageError:
                    raise
                except InputError as error:
                    self._reject(path, why_rejected(error))
        for option, pattern, fitting in (
            ("--images", options.images, self.images),
            ("--masks", options.masks, self.masks or self.segmentations or self.structures),
        ):
            if pattern and not fitting:
                raise InputError(f"{option} '{pattern}' fits no {option[2:-1]} of {directory}")

    def _is_mask(self, path: Path) -> bool:
        """Whether the user, or else its name, says so."""
        return self._fits_masks(path, unsaid=False) or path in self._named_masks

    def _fits_masks(self, path: Path, unsaid: bool = True) -> bool:
        pattern = self._options.masks
        return fits(path, self._directory, pattern) if pattern else unsaid

    def _take_mask(self, path: Path) -> None:
        if self._fits_masks(path):
            self.masks.append(path)
        else:
            self._pass_over(path, f"does not fit --masks {self._options.masks}")

    def _sort_in(self, path: Path) -> None:
        header, images = read_header(path), self._options.images
        if header.no_picture:
            self._pass_over(path, header.no_picture)
        elif (header.is_contours or header.is_segmentation) and not self._fits_masks(path):
            self._pass_over(path, f"does not fit --masks {self._options.masks}")
        elif header.is_contours:
            self.structures.append(read_structures(path))
        elif header.is_segmentation:
            self.segmentations.append(read_segmentation(path))
        elif images and not fits(path, self._directory, images):
            self._pass_over(path, f"does not fit --images {images}")
        else:
            self.images[path] = header

    def _pass_over(self, path: Path, reason: str) -> None:
        self.unused.append(Rejected(shown(path, self._directory), reason))

    def _reject(self, path: Path, reason: str) -> None:
        self.rejected.append(Rejected(shown(path, self._directory), reason))


def _names_its_images(path: Path) -> bool:
    """Whether it is a segmentation, or contours."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return False
    try:
        header = read_header(path)
        return header.is_segmentation or header.is_contours
    except MissingPackageError:
        raise
    except InputError:
        return False
