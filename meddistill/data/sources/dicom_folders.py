"""DICOM: folders of files with one or more frames each; masks as DICOM segmentations that name their
images, or in masks/ with equal names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError, MissingPackageError, why_rejected
from meddistill.base.paths import shown
from meddistill.data.formats.dicom import (
    DicomImage,
    Header,
    is_dicom,
)
from meddistill.data.formats.dicom_contours import ContourMask, Structures
from meddistill.data.formats.dicom_segmentations import (
    Segmentation,
    SegmentationMask,
)
from meddistill.data.formats.dicom_series import copies_among
from meddistill.data.formats.known_image_formats import IMAGE_FORMATS
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.raw_case import MaskRef, RawCase
from meddistill.data.sources.dicom_files import DicomFiles
from meddistill.data.sources.dicom_masks import Pairs, pairs_of
from meddistill.data.sources.dicom_patients import Patients
from meddistill.data.sources.dicom_structures import check_labels
from meddistill.data.sources.dicom_volumes import in_series
from meddistill.data.sources.source import Listing, SourceOptions, Understood
from meddistill.data.sources.volume_cases import MOVED
from meddistill.data.sources.walking import any_file, walk_files
from meddistill.run.tables import Rejected

_SAMPLE = 5


class DicomFolders:
    name = "dicom"
    summary = (
        "DICOM files in series folders; masks as DICOM SEG or RTSTRUCT, or with equal names below masks/ (PNG "
        "or DICOM)"
    )
    general = False

    def recognise(self, directory: Path) -> str | None:
        found = any_file(directory, "*.dcm", "*.DCM", "*.dicom", "*.ima", "*.IMA", "DICOMDIR")
        found = found or _without_ending(directory)
        return f"it has {shown(found, directory)}" if found else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        files = DicomFiles(directory, options)
        if not files.images and not files.segmentations:
            raise InputError(f"{directory} holds no DICOM file, the layout of {self.name}")
        check_labels([*files.segmentations, *files.structures], options.labels)
        patients = Patients(files.images.values(), options)
        cases: list[RawCase] = []
        used: set[str] = set()
        pairs = pairs_of(list(files.images), files.masks, directory, options)
        rejected = files.rejected
        rejected += [Rejected(shown(path, directory), why) for path, why in pairs.problems]
        passed_over = {path for path, _ in pairs.problems}
        elsewhere = {} if MOVED in options.accept else _elsewhere(files)
        copies = copies_among(files.images) if options.whole_volumes else {}
        for path, same in copies.items():
            reason = f"it is {shown(same, directory)} once more"
            rejected.append(Rejected(shown(path, directory), reason))
        for path, header in files.images.items():
            if path in copies or path in passed_over:
                continue
            mask = pairs.mask_of.get(path)
            segmentations = [each for each in files.segmentations if _looked_at(each, header)]
            try:
                if segmentations and mask is None:
                    used.add(header.uid)
                    _check_places(segmentations, elsewhere)
                    found = _segmented(path, header, segmentations, directory, options)
                else:
                    found = _frames(path, header, mask, directory, options)
                    if mask is None:
                        found = _contoured(found, header, files.structures, options)
                group = patients.group_of(header)
                cases += [dataclasses.replace(x, group=group or x.group) for x in found]
            except MissingPackageError:
                raise
            except InputError as error:
                rejected.append(Rejected(shown(path, directory), why_rejected(error)))
        for each in files.segmentations:
            if lost := sum(uid not in used for uid in each.frames_of):
                reason = f"{lost} of its {len(each.frames_of)} images are not in the folder"
                rejected.append(Rejected(shown(each.path, directory), reason))
        notes = [patients.note]
        if burned := sum(header.burned_in for header in files.images.values()):
            notes.append(f"{burned} files say that text is burned into their pixels: look at them")
        if options.whole_volumes:
            cases, told = in_series(cases, files.images, directory)
            notes += told
        understood = _understood(files, pairs, directory)
        return Listing(cases, rejected, notes, understood=understood, patient_key=patients.key)


def _without_ending(directory: Path) -> Path | None:
    """A DICOM file among those whose names have no ending, or a number for one."""
    files, _ = walk_files(directory, directory)
    odd = [path for path in files if not path.suffix or path.suffix[1:].isdecimal()]
    return next((path for path in odd[:_SAMPLE] if is_dicom(path)), None)


def _looked_at(segmentation: Segmentation, header: Header) -> bool:
    return header.uid in segmentation.images or header.series in segmentation.series


def _elsewhere(files: DicomFiles) -> dict[Path, str]:
    """By its path why a segmentation does not lie on its images."""
    return {
        each.path: why
        for each in files.segmentations
        for header in files.images.values()
        if (why := each.why_elsewhere(header))
    }


def _check_places(segmentations: Sequence[Segmentation], elsewhere: Mapping[Path, str]) -> None:
    """Raises: InputError where one lies elsewhere: also what it leaves empty then says nothing."""
    for each in segmentations:
        if why := elsewhere.get(each.path):
            raise InputError(f"{why}; --accept {MOVED} takes it as it is stored")


def _understood(files: DicomFiles, pairs: Pairs, directory: Path) -> Understood:
    if files.structures and not files.segmentations:
        named = sorted({name for each in files.structures for name in each.names})
        return Understood(
            masks=f"contours of {len(files.structures)} RTSTRUCT files",
            rule="the image that a contour names, else the one in whose plane it lies",
            example=", ".join(f"{number} {name}" for number, name in named),
            unused=files.unused,
        )
    if not files.segmentations:
        return Understood(
            masks=pairs.masks, rule=pairs.rule, readings=pairs.readings, unused=files.unused
        )
    first = files.segmentations[0]
    names = sorted({name for each in files.segmentations for name in each.segments.values()})
    return Understood(
        masks=f"frames of {len(files.segmentations)} DICOM SEG files",
        rule="the image that a frame names; images of its series without a frame were looked at",
        example=f"{shown(first.path, directory)}: {', '.join(names)}",
        unused=files.unused,
    )


def _segmented(
    path: Path,
    header: Header,
    segmentations: list[Segmentation],
    directory: Path,
    options: SourceOptions,
) -> list[RawCase]:
    """The case of an image of which segmentations speak. Raises: InputError where more than one
    does, or it has frames of its own."""
    if len(segmentations) > 1:
        names = ", ".join(each.path.name for each in segmentations[:3])
        raise InputError(
            f"{len(segmentations)} segmentations speak of it: {names}; choose one with --masks"
        )
    found = segmentations[0]
    if header.frames > 1:
        raise InputError(
            f"{path.name} has {header.frames} frames, of which {found.path.name} names none"
        )
    frames = found.frames_of.get(header.uid, ())
    mask = SegmentationMask(found.path, frames, header.size_hw, options.labels, found.most)
    (case,) = _frames(path, header, None, directory, options)
    return [dataclasses.replace(case, mask=mask)]


def _contoured(
    cases: list[RawCase], header: Header, structures: list[Structures], options: SourceOptions
) -> list[RawCase]:
    """The case of an image of which contours speak, with what they enclose there: nothing where none
    lies on it. Raises: InputError where more than one file does."""
    spoken = [each for each in structures if each.speaks_of(header)]
    if not spoken or len(cases) != 1 or len(header.placed) != 1:
        return cases
    if len(spoken) > 1:
        names = ", ".join(each.path.name for each in spoken[:3])
        raise InputError(
            f"{len(spoken)} files of contours speak of it: {names}; choose one with --masks"
        )
    found = spoken[0]
    mask = ContourMask(
        found.path, found.on(header), header.placed[0], header.size_hw, options.labels
    )
    return [dataclasses.replace(cases[0], mask=mask)]


def _frames(
    path: Path, header: Header, mask: Path | None, directory: Path, options: SourceOptions
) -> list[RawCase]:
    count = header.frames
    group = path.parent.relative_to(directory).as_posix()
    cases = []
    for frame in range(count):
        reference: MaskRef | None = None
        if mask is not None:
            # A PNG cannot say which of several frames it belongs to.
            is_picture = mask.suffix.lower() in IMAGE_SUFFIXES
            if is_picture and count > 1:
                raise InputError(f"{path.name} has {count} frames, its mask {mask.name} one")
            mask_format = IMAGE_FORMATS["picture" if is_picture else "dicom"]
            reference = mask_format.mask(mask, frame, options.labels)
        series = path.parent.relative_to(directory).as_posix().replace("/", "_")
        name = f"{series}_{path.stem}" + (f"_{frame:04}" if count > 1 else "")
        source = shown(path, directory) + (f"#{frame}" if count > 1 else "")
        cases.append(RawCase(name, source, DicomImage(path, frame), reference, group=group))
    return cases
