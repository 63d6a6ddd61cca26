"""DICOM: folders of files with one or more frames each, and masks/ with equal names."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.errors import InputError, MissingPackageError
from meddistill.base.paths import shown
from meddistill.data.formats.dicom import DicomImage, header_facts, is_dicom
from meddistill.data.formats.known_image_formats import IMAGE_FORMATS
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.raw_case import MaskRef, RawCase
from meddistill.data.sources.folder import MASK_FOLDERS
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, walk_files
from meddistill.run.tables import Rejected


class DicomFolders:
    name = "dicom"
    summary = "DICOM files in series folders, masks with equal names below masks/ (PNG or DICOM)"
    general = False

    def recognise(self, directory: Path) -> str | None:
        found = any_file(directory, "*.dcm", "*.DCM", "DICOMDIR")
        return f"it has {shown(found, directory)}" if found else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        cases: list[RawCase] = []
        images: list[Path] = []
        masks: dict[str, Path] = {}
        files, rejected = walk_files(directory, directory)
        for path in files:
            if path.name == "DICOMDIR" or not (
                path.suffix.lower() in IMAGE_SUFFIXES or is_dicom(path)
            ):
                if path.suffix.lower() == ".dcm":
                    rejected.append(Rejected(shown(path, directory), "not a DICOM file"))
            elif key := _mask_key(path, directory):
                masks[key] = path
            elif is_dicom(path):
                images.append(path)
            else:
                rejected.append(Rejected(shown(path, directory), "not a DICOM file"))
        for path in images:
            mask = masks.pop(_image_key(path, directory), None)
            try:
                cases += _frames(path, mask, directory, options)
            except MissingPackageError:
                raise
            except InputError as error:
                rejected.append(Rejected(shown(path, directory), str(error)))
        rejected += [
            Rejected(shown(path, directory), "mask without an image") for path in masks.values()
        ]
        if not images:
            raise InputError(f"{directory} holds no DICOM file, the layout of {self.name}")
        return Listing(cases, rejected, ["groups are the patients (PatientID), else the folders"])


def _mask_key(path: Path, directory: Path) -> str:
    """Path below the folder of masks without ending; '' for a file that is no mask."""
    parts = path.relative_to(directory).with_suffix("").parts
    folders = [index for index, part in enumerate(parts[:-1]) if part.lower() in MASK_FOLDERS]
    return "/".join(parts[: folders[0]] + parts[folders[0] + 1 :]) if folders else ""


def _image_key(path: Path, directory: Path) -> str:
    parts = path.relative_to(directory).with_suffix("").parts
    return "/".join(
        part
        for index, part in enumerate(parts)
        if index == len(parts) - 1 or part.lower() != "images"
    )


def _frames(
    path: Path, mask: Path | None, directory: Path, options: SourceOptions
) -> list[RawCase]:
    count, patient = header_facts(path)
    group = patient or path.parent.relative_to(directory).as_posix()
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
