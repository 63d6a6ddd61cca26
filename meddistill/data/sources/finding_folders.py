"""Masks of one finding a file: `masks/anterior/ID.png` and `masks/posterior/ID.png`, or
`ID_anterior.png`. Which finding a mask is of is told by its name or a folder's; whose it is, as of
any mask, by what is left of both (`matching`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meddistill.data.formats.picture_refs import MaskFiles
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.file_roles import Patterns, Roles, roles_by_name
from meddistill.data.sources.matching import Matched, match
from meddistill.data.sources.naming import SPLIT_WORDS, Named, without_roles, words_of
from meddistill.data.sources.sibling_splits import sibling_splits

_FEW = 8
"""Folders above which they are rather of patients than of findings."""


@dataclasses.dataclass(frozen=True)
class FindingMasks:
    """The masks of each finding. `matched`: of all of them, with the problems of every one."""

    matched: Matched
    masks_of: Mapping[str, Mapping[Path, tuple[Path, ...]]]
    """Finding -> image -> its files."""


def masks_by_finding(
    named: Sequence[Named], directory: Path, patterns: Patterns, names: Sequence[str]
) -> FindingMasks | None:
    """The masks by finding; None where they are not one a finding.

    Args:
        named: the pictures (or volumes) of the source.
        directory: the source folder.
        patterns: what the user says of roles.
        names: the findings; () for those that folders of masks are called by, two and more.
    """
    roles = roles_by_name(named, directory, patterns)
    names = names or _names_of_folders(roles)
    words_by_name = {name: words_of(name) for name in names}
    told: dict[str, list[Named]] = {name: [] for name in names}
    rest: list[Named] = []
    in_roles = [*roles.images, *(mask for kind in roles.kinds.values() for mask in kind)]
    for file in in_roles:
        says = [name for name, words in words_by_name.items() if _says(file, words)]
        if len(says) > 1:  # `left lung` is said where `lung` is, too
            most = max(len(words_by_name[name]) for name in says)
            says = [name for name in says if len(words_by_name[name]) == most]
        if len(says) == 1 and file.folder_role != "image":
            told[says[0]].append(_without(file, words_by_name[says[0]]))
        else:
            rest.append(file)
    whose = {file.path for kind in roles.kinds.values() for file in kind}
    images = [file for file in rest if file.path not in whose]
    if not images or sum(bool(masks) for masks in told.values()) < min(2, len(names)):
        return None
    found = {
        name: match(named, directory, patterns, Roles(images, {("by finding",): masks}, []))
        for name, masks in told.items()
        if masks
    }
    if not any(each.masks_of for each in found.values()):
        return None
    problems = {problem for each in found.values() for problem in each.problems}
    bad = {path for path, _ in problems}
    every = list(found.values())
    matched = dataclasses.replace(
        every[0],
        images=[file for file in images if file.path not in bad],
        masks_of={},
        problems=sorted(problems),
        unused=[
            *roles.unused,
            *((f.path, "a mask of no finding") for f in rest if f.path in whose),
        ],
        rule="; ".join(dict.fromkeys(each.rule for each in every if each.rule)),
        masks=[mask for each in every for mask in each.masks],
    )
    return FindingMasks(matched, {name: each.masks_of for name, each in found.items()})


def counted(found: FindingMasks) -> str:
    """How many masks there are of each finding, for a person."""
    return ", ".join(f"{name} {len(masks)}" for name, masks in found.masks_of.items())


def files_by_finding(found: FindingMasks, image: Path) -> dict[str, tuple[Path, ...]]:
    """The files of an image's masks, of each finding that has some."""
    return {name: files[image] for name, files in found.masks_of.items() if image in files}


def with_finding_masks(cases: Sequence[RawCase], found: FindingMasks) -> list[RawCase]:
    """The cases with their masks. A finding without a file in a case was not looked for there, as
    an image without a mask is unknown."""
    return [dataclasses.replace(case, **_masks_of(case, found)) for case in cases]


def _masks_of(case: RawCase, found: FindingMasks) -> dict[str, Any]:
    (path,) = case.image.files
    masks = tuple(
        (name, MaskFiles(files, None)) for name, files in files_by_finding(found, path).items()
    )
    looked_for = tuple(name for name, _ in masks)
    return {"finding_masks": masks, "looked_for": looked_for} if masks else {}


def _names_of_folders(roles: Roles) -> list[str]:
    """What the folders right around masks are called, where that is no word for a mask or a split."""
    masks = [mask for kind in roles.kinds.values() for mask in kind]
    splits = sibling_splits(mask.folders for mask in masks)
    folders = {
        mask.folders[-1]
        for mask in masks
        if len(mask.folders) > 1
        and mask.folder_role == "mask"
        and mask.folders not in splits
        and set(without_roles(mask.folder_words[-1])) - SPLIT_WORDS.keys()
    }
    stems = {image.stem for image in roles.images}
    found = sorted(folders - stems)  # a folder a case is no finding
    return found if 2 <= len(found) <= len(roles.images) else []


def told_of_folders(named: Sequence[Named], directory: Path, patterns: Patterns) -> str:
    """What would be read with `--findings auto` where folders of masks seem to be findings; '' where
    they do not: images lie in folders of these names, too, or there are many, as of patients."""
    roles = roles_by_name(named, directory, patterns)
    names = _names_of_folders(roles)
    of_images = {folder for image in roles.images for folder in image.folders}
    if not names or len(names) > _FEW or not of_images.isdisjoint(names):
        return ""
    return f"--findings auto, for folders of masks that are findings: {', '.join(names)}"


def _says(file: Named, words: Sequence[str]) -> bool:
    """Whether a folder or the name has all these words, one after the other."""
    size = len(words)
    return size > 0 and any(
        tuple(each[start : start + size]) == tuple(words)
        for each in (*file.folder_words, file.stem_words)
        for start in range(len(each) - size + 1)
    )


def _without(file: Named, words: Sequence[str]) -> Named:
    """The file as it would be called without the finding's name."""

    def cut(each: tuple[str, ...]) -> tuple[str, ...]:
        size = len(words)
        for start in range(len(each) - size + 1):
            if each[start : start + size] == tuple(words):
                return each[:start] + each[start + size :]
        return each

    return dataclasses.replace(
        file,
        folder_words=tuple(cut(each) for each in file.folder_words),
        stem_words=cut(file.stem_words),
    )
