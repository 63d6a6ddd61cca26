"""Volumes cut into slices, with masks where there are some: MSD, BraTS (a folder a patient), nnU-Net,
images/ and masks/, or beside; what is whose is inferred from names (`matching`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from meddistill.base.errors import InputError, MissingPackageError, why_rejected
from meddistill.base.paths import shown
from meddistill.data.formats import itk, nifti, pages
from meddistill.data.formats.known_volume_formats import VOLUME_SUFFIXES
from meddistill.data.formats.pictures import page_count
from meddistill.data.formats.slicer_markups import SUFFIX as BOXES
from meddistill.data.formats.volume_slices import AXES
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.boxes_in_volumes import Markups, find_markups
from meddistill.data.sources.contents import refuse_unnamed_masks
from meddistill.data.sources.file_roles import Patterns
from meddistill.data.sources.finding_folders import (
    FindingMasks,
    counted,
    files_by_finding,
    masks_by_finding,
)
from meddistill.data.sources.folder import split_columns, understood_of
from meddistill.data.sources.matching import Matched, match
from meddistill.data.sources.naming import name_files
from meddistill.data.sources.scan_channels import (
    choose_channels,
    volumes_of,
    with_masks_of_others,
    without_others,
)
from meddistill.data.sources.scan_groups import groups_of, of_one_patient
from meddistill.data.sources.slicer_masks import with_segments
from meddistill.data.sources.source import Listing, SourceOptions, Understood
from meddistill.data.sources.volume_cases import VolumeMasks, in_split, volume_cases
from meddistill.data.sources.walking import any_file, walk_files
from meddistill.run.tables import Rejected

_SAMPLE = 3
_NIFTI = tuple(f"*{suffix}" for suffix in nifti.SUFFIXES)


class ScanFolders:
    """A layout of volumes: `nifti` wherever there is one, `scans` for the other formats."""

    general = False

    def __init__(self, name: str, summary: str) -> None:
        self.name = name
        self.summary = summary

    def recognise(self, directory: Path) -> str | None:
        found = any_file(directory, *_NIFTI)
        if self.name != "nifti":
            found = None if found else stacks_in(directory)
        return f"it has {shown(found, directory)}" if found else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        found, rejected = walk_files(directory, directory)
        files = [path for path in found if path.name.lower().endswith(VOLUME_SUFFIXES)]
        files = files or [path for path in found if path.name.lower().endswith(pages.SUFFIXES)]
        if not files:
            raise InputError(f"{directory} holds no {self._looks_like}, the layout of {self.name}")
        named = name_files(files, directory, VOLUME_SUFFIXES)
        patterns = Patterns(options.images, options.masks)
        by_finding = None
        if options.finding_names is not None and not options.boxes_given:
            by_finding = masks_by_finding(named, directory, patterns, options.finding_names)
        matched = by_finding.matched if by_finding else match(named, directory, patterns)
        rejected += [
            Rejected(shown(path, directory), _as_volume(reason))
            for path, reason in matched.problems
        ]
        boxed = options.boxes_given or any(path.name.lower().endswith(BOXES) for path in found)
        if not (matched.masks_of or by_finding or boxed or options.images or options.masks):
            refuse_unnamed_masks(matched.images, directory)
        cases: list[RawCase] = []
        volumes = volumes_of(matched)
        groups, splits = groups_of(matched.images), split_columns(matched.images)
        patients = of_one_patient(volumes)
        matched = with_masks_of_others(matched, options.channel)
        rejected += without_others(volumes, options.channel, directory, matched.masks_of)
        chosen, without = choose_channels(volumes, options.channel, directory)
        rejected += without
        masks = {
            volume.path: _masks(volume.path, matched, by_finding) for volume, _ in chosen.values()
        }
        markups = find_markups(found, [volume for volume, _ in chosen.values()], directory)
        rejected += markups.rejected
        for name, (volume, channel) in chosen.items():
            mask = masks[volume.path]
            try:
                group, split = groups.of[volume.path] or patients[name], splits[volume.path]
                slices = volume_cases(name, volume.path, mask, channel, directory, options, group)
                cases += markups.boxed(in_split(slices, split), volume.path, options)
            except MissingPackageError:
                raise
            except InputError as error:
                rejected.append(Rejected(shown(volume.path, directory), why_rejected(error)))
        segmented = with_segments(cases, directory, options)
        by = "folders" if any(groups.of.values()) else "volumes"
        note = (
            f"{len(volumes)} volumes are cut into {AXES[options.axis]} slices; groups are the {by}"
        )
        note += f"; {groups.note}" if groups.note else ""
        return Listing(
            segmented.cases,
            rejected,
            [note, *segmented.notes, *markups.all_notes(options)],
            sorted(markups.names) if markups else None,
            markups.tables if markups else (),
            _understood(matched, directory, by_finding, markups),
            may_overlap=segmented.named is not None and segmented.named.layered,
            segments=segmented.named,
        )

    @property
    def _looks_like(self) -> str:
        return " or ".join(f"*{suffix}" for suffix in _ends(self.name))


def _understood(
    matched: Matched, directory: Path, by_finding: FindingMasks | None, markups: Markups
) -> Understood:
    found = understood_of(matched, directory)
    if by_finding:
        found = dataclasses.replace(found, values=counted(by_finding))
    if markups and not found.rule:
        found = dataclasses.replace(found, rule=f"boxes: {markups.rule}")
    return found


def _masks(path: Path, matched: Matched, by_finding: FindingMasks | None) -> VolumeMasks:
    if by_finding is not None:
        return VolumeMasks(by_finding=files_by_finding(by_finding, path))
    return VolumeMasks(tuple(matched.masks_of.get(path, ())))


def _ends(name: str) -> tuple[str, ...]:
    return nifti.SUFFIXES[::-1] if name == "nifti" else (*itk.SUFFIXES, *pages.SUFFIXES)


def stacks_in(directory: Path) -> Path | None:
    """The first volume that is no NIfTI: MHA, MHD, NRRD, or a TIFF where those hold several pages."""
    files, _ = walk_files(directory, directory)
    volumes = [path for path in files if path.name.lower().endswith(itk.SUFFIXES)]
    if volumes:
        return volumes[0]
    stacks = [path for path in files if path.name.lower().endswith(pages.SUFFIXES)]
    sample = stacks[:: max(1, len(stacks) // _SAMPLE)][:_SAMPLE]
    return sample[0] if sample and all(_is_stack(path) for path in sample) else None


def _is_stack(path: Path) -> bool:
    try:
        return page_count(path) > 1
    except InputError:
        return False


def _as_volume(reason: str) -> str:
    return "mask without an image volume" if reason == "mask without an image" else reason


SCAN_SOURCES = {
    each.name: each
    for each in (
        ScanFolders(
            "nifti",
            "*.nii[.gz] with masks in labelsTr/ or masks/, or beside as *_seg (MSD, BraTS, nnU-Net), or "
            "boxes of 3D Slicer (*.mrk.json); cut into slices",
        ),
        ScanFolders(
            "scans",
            "*.nrrd, *.mha, *.mhd or TIFF files of several pages, with masks or boxes likewise; cut into "
            "slices",
        ),
    )
}
