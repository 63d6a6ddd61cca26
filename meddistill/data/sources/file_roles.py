"""Which files of a folder are images and which are masks, by the words of their paths (`naming`) or
as the user says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from meddistill.data.sources.naming import MASK_WORDS, Named, discriminating, role_of, role_words


@dataclasses.dataclass(frozen=True)
class Roles:
    """Files by what they are: `kinds` are the masks by the words that say so; `passed_over` the
    images, also of `unused`, that do not fit --images."""

    images: list[Named]
    kinds: dict[tuple[str, ...], list[Named]]
    unused: list[tuple[Path, str]]
    passed_over: list[Named] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Patterns:
    """What the user says: paths below the source that are images, and that are masks; '' says
    nothing. A pattern without `/` is held against file names and folders alike."""

    images: str = ""
    masks: str = ""


def fits(path: Path, directory: Path, pattern: str) -> bool:
    """Whether a file's path below `directory` fits one of the patterns (`*`, `?`), split by commas."""
    inside = path.relative_to(directory).as_posix()
    return any(
        fnmatchcase(inside, each)
        or fnmatchcase(inside, f"*/{each}")
        or fnmatchcase(path.name, each)
        for each in (part.strip() for part in pattern.split(","))
        if each
    )


def roles_by_name(
    files: Sequence[Named], directory: Path, patterns: Patterns, doubtful: bool = True
) -> Roles:
    """Files by what their names, or the user, say. Without `doubtful` words that may name a class of
    images (`tumor/`) are no sign of a mask."""
    mask_words = discriminating(files)
    told = _told_images(files, directory, patterns.images)
    versions = _versions_of_masks(files)
    roles = Roles([], {}, [])
    plain: list[Named] = []
    for file in files:
        version = versions.get(file.path)
        role = "mask" if version == "" else role_of(file, mask_words)
        if patterns.masks and fits(file.path, directory, patterns.masks):
            roles.kinds.setdefault(("named by --masks",), []).append(file)
        elif file.path in told:
            roles.images.append(file)
        elif version:
            roles.unused.append((file.path, version))
        elif role == "other":
            roles.unused.append((file.path, "named like a preview, an overlay or a prediction"))
        elif patterns.masks and role in ("mask", "maybe mask"):
            roles.unused.append((file.path, f"does not fit --masks {patterns.masks}"))
        elif role == "mask" or (role == "maybe mask" and doubtful):
            roles.kinds.setdefault(role_words(file), []).append(file)
        elif patterns.images:
            _pass_over(file, roles, patterns)
        else:
            (roles.images if role == "image" else plain).append(file)
    in_folders = [file for file in roles.images if file.folder_role == "image"]
    if in_folders and plain and roles.kinds:
        folders = sorted({file.folders[-1] for file in in_folders})
        why = f"lies outside of {', '.join(f'{name}/' for name in folders[:3])}"
        roles.unused.extend((file.path, why) for file in plain)
    else:
        roles.images.extend(plain)
        roles.images.sort(key=lambda file: file.path.parts)
    return roles


def _told_images(files: Sequence[Named], directory: Path, pattern: str) -> set[Path]:
    """The files that fit --images. What `*_t1.png` also fits in a folder of masks stays a mask; `*`,
    and a pattern with a folder, mean all that they fit."""
    told: set[Path] = set()
    for part in filter(None, (each.strip() for each in pattern.split(","))):
        fitting = [file for file in files if fits(file.path, directory, part)]
        outside = [file for file in fitting if file.folder_role != "mask"]
        whole = "/" in part or not set(part) - {"*"}
        told |= {file.path for file in (fitting if whole else outside or fitting)}
    return told


def _versions_of_masks(files: Sequence[Named]) -> dict[Path, str]:
    """Files in a folder like `labels/original/` (MONAI Label) that have the names of files which lie in
    no folder of masks, and whose siblings say no more than `final`: masks themselves. By each why it
    is left alone, '' where it is not."""
    inside: dict[tuple[str, ...], list[Named]] = {}
    taken: set[tuple[str, ...]] = set()
    says_more: set[tuple[str, ...]] = set()  # `labels/images/` beside `labels/masks/` are images
    stems: set[str] = set()
    for file in files:
        above = _outermost_of_masks(file)
        folder = file.folders[: above + 1]
        if above < 0 and file.folder_role not in ("mask", "other"):
            stems.add(file.stem)
        elif above >= 0 and file.folder_role == "image":
            inside.setdefault(folder, []).append(file)
        elif above >= 0:
            taken.add(folder)
            if any(not MASK_WORDS.isdisjoint(words) for words in file.folder_words[above + 1 :]):
                says_more.add(folder)
    found = {}
    for folder, members in inside.items():
        if folder in says_more or 2 * sum(file.stem in stems for file in members) < len(members):
            continue
        for file in members:
            own = "/".join(file.folders)
            why = f"another version of the masks in {folder[-1]}/; --masks '{own}/*' takes those"
            found[file.path] = why if folder in taken else ""
    return found


def _outermost_of_masks(file: Named) -> int:
    """Which of a file's folders is the first that says masks and nothing else; -1 for none."""
    words_of = enumerate(file.folder_words)
    return next((n for n, words in words_of if words and set(words) <= MASK_WORDS), -1)


def only_told_images(roles: Roles, directory: Path, patterns: Patterns) -> Roles:
    """Roles from elsewhere, such as contents, but for what --images says of them."""
    if not patterns.images:
        return roles
    kinds = {
        kind: [mask for mask in masks if not fits(mask.path, directory, patterns.images)]
        for kind, masks in roles.kinds.items()
    }
    masks = {mask.path for kept in kinds.values() for mask in kept}
    found = Roles([], {kind: kept for kind, kept in kinds.items() if kept}, list(roles.unused))
    every = [*roles.images, *(mask for kind in roles.kinds.values() for mask in kind)]
    for file in sorted(every, key=lambda each: each.path.parts):
        if fits(file.path, directory, patterns.images):
            found.images.append(file)
        elif file.path not in masks:
            _pass_over(file, found, patterns)
    return found


def _pass_over(file: Named, roles: Roles, patterns: Patterns) -> None:
    roles.passed_over.append(file)
    roles.unused.append((file.path, f"does not fit --images {patterns.images}"))
