"""DICOM: folders of files with one or more frames each; masks as DICOM segmentations that name their
images, or in masks/ with equal names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from meddistill.base.errors import InputError, MissingPackageError, why_rejected
from meddistill.base.paths import shown
from meddistill.data.formats.dicom import (
    DicomImage,
    Header,
    is_dicom,
    read_header,
)
from meddistill.data.formats.dicom_segmentations import apart_mm
from meddistill.data.formats.dicom_series import copies_among
from meddistill.data.formats.image_format import ImageFormat
from meddistill.data.formats.known_image_formats import IMAGE_FORMATS
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.raw_case import MaskRef, RawCase
from meddistill.data.sources.dicom_files import DicomFiles
from meddistill.data.sources.dicom_masks import Pairs, pairs_of, refuse_unnamed_masks
from meddistill.data.sources.dicom_patients import Patients
from meddistill.data.sources.dicom_volumes import in_series
from meddistill.data.sources.source import Listing, SourceOptions, Understood
from meddistill.data.sources.structure_masks import StructureMasks
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
        structures = StructureMasks(files, directory, options)
        patients = Patients(files.images.values(), options)
        cases: list[RawCase] = []
        pairs = pairs_of(list(files.images), files.masks, directory, options)
        masked = files.masks or files.segmentations or files.structures
        if not (masked or options.boxes_given or options.images or options.masks):
            refuse_unnamed_masks(list(files.images), directory)
        rejected = files.rejected
        rejected += [Rejected(shown(path, directory), why) for path, why in pairs.problems]
        copies = copies_among(files.images) if options.whole_volumes else {}
        for path, same in copies.items():
            reason = f"it is {shown(same, directory)} once more"
            rejected.append(Rejected(shown(path, directory), reason))
        passed_over = {*copies, *(path for path, _ in pairs.problems)}
        for path, header in files.images.items():
            if path in passed_over:
                continue
            mask = pairs.mask_of.get(path)
            try:
                found = _frames(path, header, mask, directory, options)
                if mask is None:
                    found = [structures.of(case, path) for case in found]
                group = patients.group_of(header)
                cases += [dataclasses.replace(x, group=group or x.group) for x in found]
            except MissingPackageError:
                raise
            except InputError as error:
                rejected.append(Rejected(shown(path, directory), why_rejected(error)))
        rejected += structures.rejected(directory)
        notes = [patients.note, *structures.notes]
        if burned := sum(header.burned_in for header in files.images.values()):
            notes.append(f"{burned} files say that text is burned into their pixels: look at them")
        if options.whole_volumes:
            cases, told = in_series(cases, files.images, directory)
            notes += told
        understood = _understood(files, pairs, directory)
        return Listing(
            cases,
            rejected,
            notes,
            understood=understood,
            patient_key=patients.key,
            may_overlap=structures.may_overlap,
        )


def _without_ending(directory: Path) -> Path | None:
    """A DICOM file among those whose names have no ending, or a number for one."""
    files, _ = walk_files(directory, directory)
    odd = [path for path in files if not path.suffix or path.suffix[1:].isdecimal()]
    return next((path for path in odd[:_SAMPLE] if is_dicom(path)), None)


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
        readings=["contours of RTSTRUCT files may be masks as well: --masks chooses"]
        if files.structures
        else [],
        unused=files.unused,
    )


def _frames(
    path: Path, header: Header, mask: Path | None, directory: Path, options: SourceOptions
) -> list[RawCase]:
    """The cases of an image, each with its frame of the mask. Raises: InputError for a mask of other
    frames, or that lies elsewhere."""
    count = header.frames
    group = path.parent.relative_to(directory).as_posix()
    mask_format = None
    if mask is not None:
        mask_format = _checked_format(path, header, mask, options)
    cases = []
    for frame in range(count):
        reference: MaskRef | None = None
        if mask is not None and mask_format is not None:
            reference = mask_format.mask(mask, frame, options.labels)
        series = group.replace("/", "_")
        name = f"{series}_{path.stem}" + (f"_{frame:04}" if count > 1 else "")
        source = shown(path, directory) + (f"#{frame}" if count > 1 else "")
        cases.append(RawCase(name, source, DicomImage(path, frame), reference, group=group))
    return cases


def _checked_format(path: Path, header: Header, mask: Path, options: SourceOptions) -> ImageFormat:
    """The format of an image's mask. Raises: InputError where both headers say that they do not lie on
    one another, or have other frames."""
    if mask.suffix.lower() in IMAGE_SUFFIXES:
        if header.frames > 1:  # a PNG cannot say which of them it belongs to
            raise InputError(f"{path.name} has {header.frames} frames, its mask {mask.name} one")
        return IMAGE_FORMATS["picture"]
    of_mask = read_header(mask)
    if of_mask.frames != header.frames:
        raise InputError(
            f"{path.name} has {header.frames} frames, its mask {mask.name} {of_mask.frames}: give it "
            "one of as many"
        )
    if MOVED not in options.accept and header.size_hw == of_mask.size_hw:
        places = zip(of_mask.placed, header.placed, strict=False)  # one of both may not say where
        for frame, (its, own) in enumerate(places):
            if mm := apart_mm(its, own, header.size_hw):
                raise InputError(
                    f"mask lies {mm:.1f} mm from its image by its own header (frame {frame} of "
                    f"{mask.name}); --accept {MOVED} takes it as it is stored"
                )
    return IMAGE_FORMATS["dicom"]
