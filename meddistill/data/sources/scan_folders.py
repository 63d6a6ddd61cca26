"""Volumes cut into slices, with masks where there are some: MSD, BraTS (a folder a patient), nnU-Net,
images/ and masks/, or beside; what is whose is inferred from names (`matching`)."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import ConfigError, InputError, MissingPackageError, why_rejected
from meddistill.base.paths import shown
from meddistill.data.formats import itk, nifti, pages
from meddistill.data.formats.known_volume_formats import VOLUME_SUFFIXES
from meddistill.data.formats.pictures import page_count
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.boxes_in_volumes import find_markups
from meddistill.data.sources.file_roles import Patterns
from meddistill.data.sources.finding_folders import (
    FindingMasks,
    counted,
    files_by_finding,
    masks_by_finding,
)
from meddistill.data.sources.folder import folder_meanings, split_column, understood_of
from meddistill.data.sources.matching import Matched, match
from meddistill.data.sources.naming import Named, name_files, without_roles
from meddistill.data.sources.slicer_masks import with_segments
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.volume_cases import AXES, VolumeMasks, in_split, volume_cases
from meddistill.data.sources.walking import any_file, walk_files
from meddistill.run.tables import Rejected

_MASK_END = re.compile(r"[_-](seg|segmentation|mask|label|gt)$", re.IGNORECASE)
_CHANNEL_END = re.compile(
    r"[_-](\d{4}|t1|t1c|t1ce|t1n|t1w|t2|t2w|t2f|flair|adc|dwi|ct|pet)$", re.IGNORECASE
)
_NUMBER_END = re.compile(r"[_-](\d{4})$")
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
"""How BIDS calls a patient, in folders and at the beginning of names."""
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
        cases: list[RawCase] = []
        volumes = _volumes(matched)
        groups = _groups(matched.images)
        patients = _of_one_patient(volumes)
        rejected += _without_others(volumes, options.channel, directory)
        chosen, without = _choose_channels(volumes, options.channel, directory)
        rejected += without
        masks = {
            volume.path: _masks(volume.path, matched, by_finding) for volume, _ in chosen.values()
        }
        markups = find_markups(found, [volume for volume, _ in chosen.values()], directory)
        rejected += markups.rejected
        for name, (volume, channel) in chosen.items():
            mask = masks[volume.path]
            try:
                group, split = groups[volume.path] or patients[name], split_column(volume)
                slices = volume_cases(name, volume.path, mask, channel, directory, options, group)
                cases += markups.boxed(in_split(slices, split), volume.path, options)
            except MissingPackageError:
                raise
            except InputError as error:
                rejected.append(Rejected(shown(volume.path, directory), why_rejected(error)))
        segmented = with_segments(cases, directory, options)
        by = "folders" if any(groups.values()) else "volumes"
        note = (
            f"{len(volumes)} volumes are cut into {AXES[options.axis]} slices; groups are the {by}"
        )
        understood = understood_of(matched, directory)
        if by_finding:
            understood = dataclasses.replace(understood, values=counted(by_finding))
        if markups and not understood.rule:
            understood = dataclasses.replace(understood, rule=f"boxes: {markups.rule}")
        return Listing(
            segmented.cases,
            rejected,
            [note, *segmented.notes, *markups.all_notes(options)],
            sorted(markups.names) if markups else None,
            markups.tables if markups else (),
            understood,
            may_overlap=segmented.named is not None and segmented.named.layered,
            segments=segmented.named,
        )

    @property
    def _looks_like(self) -> str:
        return " or ".join(f"*{suffix}" for suffix in _ends(self.name))


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


def _volumes(matched: Matched) -> dict[str, dict[str, Named]]:
    """Images by the name of their volume, then by channel ('' where there is but one)."""
    whole = {image.stem for image in matched.images if image.path in matched.masks_of}
    whole -= {
        image.stem for image in matched.images if image.path in matched.channels
    }  # a name that a mask has is taken as it is
    whole |= _numbered_volumes(matched)
    names = {image.path: _volume_name(image.stem, whole) for image in matched.images}
    bare = Counter(
        name for image in matched.images if _says_nothing(image, name := names[image.path])
    )
    by_folder = _clashes(matched.images, names)
    found: dict[str, dict[str, Named]] = {}
    for image in matched.images:
        name = names[image.path]
        channel = image.stem[len(name) :].strip("_-")
        if name in by_folder and image.folders:
            folder = "_".join(image.folders)
            name = folder if name in bare else f"{folder}_{name}"
        found.setdefault(name, {})[channel] = image
    return found


def _numbered_volumes(matched: Matched) -> set[str]:
    """Stems with a number of four digits that is no channel: those of nnU-Net count from 0000, so that
    `IMG_0001` and `IMG_0002` alone are two patients."""
    ends: dict[tuple[tuple[str, ...], str], set[str]] = {}
    found = [
        (image, number)
        for image in matched.images
        if image.path not in matched.channels and (number := _NUMBER_END.search(image.stem))
    ]
    for image, number in found:
        ends.setdefault((image.folders, image.stem[: number.start()]), set()).add(number[1])
    return {
        image.stem
        for image, number in found
        if "0000" not in ends[image.folders, image.stem[: number.start()]]
    }


def _of_one_patient(volumes: Mapping[str, Mapping[str, Named]]) -> dict[str, str]:
    """By a volume's name whose it is: its own, or what it shares with others that differ in the name of
    their modality (`p1_t1` and `p1_t2` with a mask each)."""
    bases = {
        name: name if _NUMBER_END.search(name) else _CHANNEL_END.sub("", name) for name in volumes
    }
    shared = Counter(bases.values())
    return {name: base if shared[base] > 1 else name for name, base in bases.items()}


def _says_nothing(image: Named, name: str) -> bool:
    """Whether a file's name has no word of its own, such as `scan.nii.gz`."""
    return not without_roles(image.stem_words) and bool(name)


def _clashes(images: Sequence[Named], names: Mapping[Path, str]) -> set[str]:
    """Names that images of more than one folder have: channels of a volume lie in one."""
    folders: dict[str, set[tuple[str, ...]]] = {}
    channels = Counter((names[image.path], image.stem) for image in images)
    for image in images:
        folders.setdefault(names[image.path], set()).add(image.folders)
    return {
        names[image.path]
        for image in images
        if len(folders[names[image.path]]) > 1 and channels[names[image.path], image.stem] > 1
    }


def _volume_name(stem: str, whole: set[str]) -> str:
    """A file's name without what tells channels apart."""
    return stem if stem in whole else _CHANNEL_END.sub("", _MASK_END.sub("", stem))


def _groups(images: Sequence[Named]) -> dict[Path, str]:
    """The patient of each volume by BIDS, else the patient's folder; '' where folders do not look like
    patients."""
    found = {path: group for path, (_, group) in folder_meanings(images, least_patients=3).items()}
    for image in images:
        parts = (*image.folders, image.stem.partition("_")[0])
        subject = next((part for part in parts if _SUBJECT.fullmatch(part)), "")
        found[image.path] = subject or found[image.path]
    return found


def _without_others(
    volumes: dict[str, dict[str, Named]], wanted: str, directory: Path
) -> list[Rejected]:
    """Take away those of which all that there is is a channel of another name than the wanted one."""
    if not wanted or (wanted.isdecimal() and len(wanted) < 4):
        return []  # such a number is of a fourth axis
    found = []
    for name, channels in list(volumes.items()):
        (channel, image), *others = channels.items()
        if not others and channel not in ("", wanted):
            why = f"its channel is {channel}, not {wanted}"
            found.append(Rejected(shown(image.path, directory), why))
            del volumes[name]
    return found


def _choose_channels(
    volumes: Mapping[str, Mapping[str, Named]], wanted: str, directory: Path
) -> tuple[dict[str, tuple[Named, str]], list[Rejected]]:
    """The file of each volume, with the number of the channel within it ('' where its name tells it), and
    those that lack the wanted one.

    Raises: ConfigError where none has it, or none was asked for.
    """
    chosen: dict[str, tuple[Named, str]] = {}
    rejected = []
    for name, channels in volumes.items():
        if wanted in channels:
            chosen[name] = channels[wanted], ""
        elif len(channels) == 1:
            chosen[name] = next(iter(channels.values())), wanted
        else:
            why = f"volume {name} has the channels {', '.join(sorted(channels))}"
            why += f", not {wanted}" if wanted else ""
            first = next(iter(channels.values()))
            rejected.append(Rejected(shown(first.path, directory), why))
    if rejected and not (chosen and wanted):
        raise ConfigError(f"{rejected[0].reason}; choose one with --set prepare.channel=NAME")
    return chosen, rejected


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
