"""Any folder of pictures, with masks where there are some: what is what, and whose, is inferred from
names (`matching`), and from contents where names say nothing."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import ConfigError, InputError
from meddistill.base.paths import printable, shown
from meddistill.data.formats.picture_refs import ImageFile, MaskFiles
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.contents import roles_by_contents
from meddistill.data.sources.file_roles import Patterns, Roles, fits, only_told_images
from meddistill.data.sources.finding_folders import (
    counted,
    masks_by_finding,
    told_of_folders,
    with_finding_masks,
)
from meddistill.data.sources.matching import Matched, match
from meddistill.data.sources.name_patterns import pattern_of
from meddistill.data.sources.naming import (
    IMAGE_WORDS,
    SPLIT_WORDS,
    Named,
    name_files,
    without_roles,
    words_of,
)
from meddistill.data.sources.seeming import naming_images
from meddistill.data.sources.sibling_splits import sibling_splits
from meddistill.data.sources.source import Listing, SourceOptions, Understood
from meddistill.data.sources.walking import image_files
from meddistill.run.tables import Rejected

MASK_SUFFIXES = ("_mask", "_m", "_segmentation", "_seg", "_gt")
_LEAST_PATIENTS = 6
"""From so many folders on whose names all hold digits, a folder is a patient; fewer may be classes."""
_PATIENT = re.compile(r"(p(?=.*\d\d)|pat|patient|sub|subj|subject|case)[\W_]*\d+", re.IGNORECASE)
"""Folders that are called so are patients however few there are."""


class Folder:
    name = "folder"
    summary = (
        "images, and masks that are tied to them by their names: images/ and masks/, or beside as "
        + ", ".join(MASK_SUFFIXES)
        + ", or in folders of cases"
    )
    general = True

    def recognise(self, directory: Path) -> str | None:
        images, _ = image_files(directory, directory)
        return f"it has {len(images)} pictures" if images else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        files, rejected = image_files(directory, directory)
        if not files:
            raise InputError(f"{directory} has no picture, the layout of {self.name}")
        by_finding = None
        if options.finding_names is not None and not options.boxes_given:
            patterns = Patterns(options.images, options.masks)
            named = name_files(files, directory, ())
            by_finding = masks_by_finding(named, directory, patterns, options.finding_names)
        found = by_finding.matched if by_finding else matched_files(files, directory, options)
        if not found.images and not found.problems:
            raise InputError(
                f"{directory} holds masks alone by their names ({understood_of(found, directory).masks}"
                "): where are the images? --images says which files are"
            )
        rejected += [Rejected(shown(path, directory), reason) for path, reason in found.problems]
        cases = picture_cases(found, directory, options)
        understood = understood_of(found, directory)
        if by_finding:
            cases = with_finding_masks(cases, by_finding)
            understood = dataclasses.replace(understood, values=counted(by_finding))
        elif not options.boxes_given:
            patterns = Patterns(options.images, options.masks)
            folders = told_of_folders(name_files(files, directory, ()), directory, patterns)
            readings = [*understood.readings, *([printable(folders)] if folders else [])]
            understood = dataclasses.replace(understood, readings=readings)
        if not by_finding and not found.masks_of and not options.boxes_given:
            lists = [printable(line) for line in naming_images(directory, files)]
            understood = dataclasses.replace(understood, readings=[*understood.readings, *lists])
        return Listing(
            cases,
            sorted(rejected, key=lambda row: row.source),
            _notes(found),
            understood=understood,
        )


def matched_files(files: Sequence[Path], directory: Path, options: SourceOptions) -> Matched:
    """Pictures and their masks, by names; by contents where the names know of no mask.

    Raises: InputError where two readings are equally good, or a pattern of the user's fits nothing.
    """
    named = name_files(files, directory, ())
    patterns = Patterns(options.images, options.masks)
    found = match(named, directory, patterns)
    if options.masks and not options.images and not found.masks_of:
        chosen = _chosen_by_contents(named, directory, options.masks)
        found = match(named, directory, patterns, chosen) if chosen else found
    for option, pattern, fitting in (
        ("--images", options.images, found.images),
        ("--masks", options.masks, found.masks_of),
    ):
        if pattern and not fitting:
            raise InputError(f"{option} '{pattern}' fits no {option[2:-1]} of {directory}")
    if found.masks_of or options.masks or options.boxes_given:
        return found
    roles = roles_by_contents(named)
    if roles is None:
        return found
    roles = only_told_images(roles, directory, patterns)
    by_contents = match(named, directory, patterns, roles)
    dark = [mask for kind in roles.kinds.values() for mask in kind]
    if not by_contents.masks_of and not options.images:
        folders = told_of_folders(named, directory, patterns)
        raise InputError(
            f"{directory} holds {len(dark)} files that look like masks ({pattern_of(dark, directory)}) "
            f"beside {len(roles.images)} images, and their names do not say whose they are: --masks "
            "and --images choose, --images '*' takes all for images"
            + (f"; or {printable(folders)}" if folders else "")
        )
    return by_contents if by_contents.masks_of else found


def _chosen_by_contents(named: Sequence[Named], directory: Path, pattern: str) -> Roles | None:
    """Files by contents, of the masks those alone that the user names; None where none are."""
    roles = roles_by_contents(named)
    if roles is None:
        return None
    masks = [mask for kind in roles.kinds.values() for mask in kind]
    kept = [mask for mask in masks if fits(mask.path, directory, pattern)]
    left = [(mask.path, f"does not fit --masks {pattern}") for mask in masks if mask not in kept]
    return Roles(roles.images, {("named by --masks",): kept}, left) if kept else None


def names_of_masks(directory: Path) -> bool:
    """Whether the pictures of a folder have masks, by their names."""
    files, _ = image_files(directory, directory)
    return bool(match(name_files(files, directory, ()), directory, Patterns()).masks_of)


def understood_of(found: Matched, directory: Path) -> Understood:
    """What a person is told of the pairing."""
    example = next(
        (
            f"{shown(path, directory)} with {', '.join(shown(mask, directory) for mask in masks)}"
            for path, masks in found.masks_of.items()
        ),
        "",
    )
    return Understood(
        images=printable(pattern_of(found.images, directory)) if found.images else "",
        masks=printable(pattern_of(found.masks, directory)) if found.masks else "",
        rule=found.rule,
        example=example,
        readings=[printable(reading) for reading in found.readings],
        unused=[Rejected(shown(path, directory), reason) for path, reason in found.unused],
    )


def _notes(found: Matched) -> list[str]:
    """How masks are called, where it is by an ending."""
    stems = [mask.stem for mask in found.masks]
    suffix = next(
        (end for end in MASK_SUFFIXES if stems and all(stem.endswith(end) for stem in stems)), ""
    )
    if not suffix:
        return []
    beside = all(not mask.folder_role for mask in found.masks)
    return [f"masks end in '{suffix}'" + (" and lie beside the images" if beside else "")]


def picture_cases(found: Matched, directory: Path, options: SourceOptions) -> list[RawCase]:
    """A case of every image: one without a mask is unknown here, because people mask some of their
    images."""
    images = one_channel(found, options.channel)
    names = case_names(images, found)
    folders = folder_meanings(images)
    splits = split_columns(images)
    cases = []
    for image in images:
        class_name, group = folders[image.path]
        masks = found.masks_of.get(image.path)
        mask = MaskFiles(masks, options.labels) if masks else None
        columns = {"split": split} if (split := splits[image.path]) else {}
        source = shown(image.path, directory)
        cases.append(
            RawCase(
                names[image.path],
                source,
                ImageFile(image.path),
                mask,
                None,
                class_name,
                group,
                columns,
            )
        )
    return cases


def one_channel(found: Matched, wanted: str) -> list[Named]:
    """The images, of each case that has several channels the one that is wanted.

    Raises: ConfigError where one must be chosen.
    """
    by_case: dict[tuple[str, ...], dict[str, Named]] = {}
    for image in found.images:
        if image.path in found.channels:
            case, channel = found.channels[image.path]
            by_case.setdefault(case, {})[channel] = image
    left_out: set[Path] = set()
    for case, channels in by_case.items():
        if len(channels) == 1:
            continue
        if wanted not in channels:
            raise ConfigError(
                f"case {' '.join(case)} has the channels {', '.join(sorted(channels))}; choose one "
                "with --set prepare.channel=NAME"
            )
        left_out |= {image.path for name, image in channels.items() if name != wanted}
    return [image for image in found.images if image.path not in left_out]


def case_names(images: Sequence[Named], found: Matched) -> dict[Path, str]:
    """What a case is called: the stem (without a channel); where that says nothing, as in
    `p01/image.png`, with the folders before it."""
    bare = [image for image in images if not without_roles(image.stem_words)]
    stems = Counter(image.stem for image in bare)
    names = {}
    for image in images:
        name = image.stem
        case, channel = found.channels.get(image.path, ((), ""))
        if case and channel.isdigit() and name.endswith(channel):
            name = name[: -len(channel)].rstrip("_-. ") or name
        elif stems.get(name, 0) > 1 and image.folders:
            name = "_".join(image.folders)
        names[image.path] = name
    return names


def split_columns(images: Sequence[Named]) -> Mapping[Path, str]:
    """By image the folder that says which split it is in, as it is called; else the split by a word in
    a folder's name."""
    siblings = sibling_splits(image.folders for image in images)
    return {image.path: _split_column(image, siblings) for image in images}


def _split_column(image: Named, siblings: Mapping[tuple[str, ...], str]) -> str:
    for folder in image.folders:
        if folder.lower() in SPLIT_WORDS:
            return folder
    above = (image.folders[:depth] for depth in range(len(image.folders), 0, -1))
    return image.split or next((siblings[each] for each in above if each in siblings), "")


def folder_meanings(
    images: Sequence[Named], least_patients: int = _LEAST_PATIENTS
) -> Mapping[Path, tuple[str, str]]:
    """Class and group of each image by its folders: those that say neither what they hold nor a
    split are classes, or patients where there are many of them with a number in each name."""
    siblings = sibling_splits(image.folders for image in images)
    kept = {image.path: _telling_folders(image, siblings) for image in images}
    sizes = Counter(kept.values())
    sizes.pop((), None)
    numbered = all(any(letter.isdigit() for letter in folders[-1]) for folders in sizes)
    per_folder = sorted(sizes.values())[len(sizes) // 2] if sizes else 0
    called_so = all(any(map(_PATIENT.fullmatch, folders)) for folders in sizes)
    least = 2 if called_so else 3 if per_folder == 1 else least_patients
    if numbered and len(sizes) >= least:
        # A patient's visits lie in one folder.
        outer = {folders[0] for folders in sizes}
        whose = len(outer) >= 3 and all(any(map(str.isdigit, name)) for name in outer)
        return {path: ("", "/".join(f[:1] if whose else f)) for path, f in kept.items()}
    alone = next(iter(sizes)) if len(sizes) == 1 else ()
    if any(not IMAGE_WORDS.isdisjoint(words_of(folder)) for folder in alone):
        return dict.fromkeys(kept, ("", ""))  # one folder that says what it holds is no class
    return {path: ("/".join(folders), "") for path, folders in kept.items()}


def _telling_folders(image: Named, splits: Mapping[tuple[str, ...], str]) -> tuple[str, ...]:
    told: list[str] = []
    seen: set[str] = set()
    for depth, folder in enumerate(image.folders, 1):
        words = set(without_roles(words_of(folder)))
        if words - SPLIT_WORDS.keys() - seen and image.folders[:depth] not in splits:
            told.append(folder)
        seen |= words
    return tuple(told)
