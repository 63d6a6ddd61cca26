"""Masks of DICOM images out of the segmentations and contours that speak of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.dicom import Header
from meddistill.data.formats.dicom_contour_places import ContourPlaces, contour_places
from meddistill.data.formats.dicom_contours import ContourMask, Structures
from meddistill.data.formats.dicom_segmentations import Segmentation, SegmentationMask
from meddistill.data.masks import Labels
from meddistill.data.raw_case import MaskRef, RawCase
from meddistill.data.sources.dicom_files import DicomFiles
from meddistill.data.sources.dicom_structures import Asked
from meddistill.data.sources.source import SourceOptions
from meddistill.data.sources.volume_cases import MOVED
from meddistill.run.tables import Rejected


class StructureMasks:
    """What the segmentations and contours of a folder say of its images; `notes` for the terminal.
    Raises: as `Asked`."""

    def __init__(self, files: DicomFiles, directory: Path, options: SourceOptions) -> None:
        self._asked = Asked([*files.segmentations, *files.structures], directory, options)
        self._files = files
        self._there = {header.uid for header in files.images.values()}
        as_stored = MOVED in options.accept
        self._elsewhere = {} if as_stored else _elsewhere(files)
        self._places = {
            each.path: contour_places(self._asked.of_contours(each), files.images, as_stored)
            for each in files.structures
        }
        self.notes = self._asked.notes

    @property
    def may_overlap(self) -> bool:
        """Whether a pixel may be of several structures: not in label maps."""
        segments = (
            segment
            for each in self._files.segmentations
            for frames in each.frames_of.values()
            for _, segment in frames
        )
        return bool(self._files.structures) or any(segments)

    def of(self, case: RawCase, path: Path) -> RawCase:
        """The case of an image (or of one of its frames) with its mask, if any file speaks of it.
        Raises: InputError where more than one does, or what speaks of it lies elsewhere."""
        header = self._files.images[path]
        segmentations = [each for each in self._files.segmentations if _looked_at(each, header)]
        if segmentations:
            _check_alone(segmentations, "segmentations")
            return self._segmented(case, header, segmentations[0])
        spoken = [each for each in self._files.structures if path in self._places[each.path].images]
        _check_alone(spoken, "files of contours")
        return self._contoured(case, path, spoken[0]) if spoken else case

    def rejected(self, directory: Path) -> list[Rejected]:
        """The files that speak of images which are not there, and what becomes of that."""
        reasons: list[tuple[Path, str]] = []
        for each in self._files.segmentations:
            if lost := self._lost(each):
                reasons.append((each.path, _not_there(lost, len(each.frames_of))))
        for file in self._files.structures:
            if why := _why_lost(file, self._places[file.path]):
                reasons.append((file.path, why))
        return [Rejected(shown(path, directory), why) for path, why in reasons]

    def _lost(self, file: Segmentation) -> int:
        """How many of the images that have frames are not in the folder."""
        return sum(uid not in self._there for uid in file.frames_of)

    def _segmented(self, case: RawCase, header: Header, file: Segmentation) -> RawCase:
        if why := self._elsewhere.get(file.path):
            raise InputError(f"{why}; --accept {MOVED} takes it as it is stored")
        if header.frames > 1:
            raise InputError(
                f"{case.image.files[0].name} has {header.frames} frames, of which {file.path.name} "
                "names none"
            )
        frames, lost = file.frames_of.get(header.uid, ()), self._lost(file)
        if lost == len(file.frames_of) or (lost and header.uid not in file.images):
            return case  # made anonymous since? then what is lost may be of this image

        def mask(labels: Labels) -> MaskRef:
            return SegmentationMask(file.path, frames, header.size_hw, labels, file.most)

        return self._asked.masked(case, file, mask)

    def _contoured(self, case: RawCase, path: Path, file: Structures) -> RawCase:
        """With what contours enclose: nothing where none lies on it. As it is while any is left of
        which nobody knows where it belongs."""
        header, places = self._files.images[path], self._places[file.path]
        if places.why_elsewhere:
            raise InputError(f"{places.why_elsewhere}; --accept {MOVED} takes it as it is stored")
        if places.lost or len(header.placed) != 1:
            return case
        contours, (placement,) = places.on.get(path, ()), header.placed

        def mask(labels: Labels) -> MaskRef:
            return ContourMask(file.path, contours, placement, header.size_hw, labels)

        return self._asked.masked(case, file, mask)


def _looked_at(segmentation: Segmentation, header: Header) -> bool:
    return header.uid in segmentation.images or header.series in segmentation.series


def _elsewhere(files: DicomFiles) -> dict[Path, str]:
    """By its path why a segmentation does not lie on its images: also what it leaves empty then says
    nothing."""
    return {
        each.path: why
        for each in files.segmentations
        for header in files.images.values()
        if (why := each.why_elsewhere(header))
    }


def _check_alone(found: Sequence[Segmentation | Structures], kind: str) -> None:
    """Raises: InputError for more than one."""
    if len(found) > 1:
        names = ", ".join(each.path.name for each in found[:3])
        raise InputError(f"{len(found)} {kind} speak of it: {names}; choose one with --masks")


def _not_there(lost: int, count: int) -> str:
    return f"{lost} of its {count} images are not in the folder"


def _why_lost(file: Structures, places: ContourPlaces) -> str:
    """What of a file's contours is on no image; '' where all are."""
    if not places.images:
        return "speaks of no image in the folder"
    if places.lost:
        count = places.lost + sum(map(len, places.on.values()))
        return (
            f"{places.lost} of its {count} contours lie on no image in the folder: all images of which it "
            "speaks are unknown; give those on which they were drawn"
        )
    named = {each.image for each in file.contours}
    return _not_there(places.not_there, len(named)) if places.not_there else ""
