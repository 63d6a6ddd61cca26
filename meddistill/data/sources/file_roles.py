"""Which files of a folder are images and which are masks, by the words of their paths (`naming`) or
as the user says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from meddistill.data.sources.naming import Named, discriminating, role_of, role_words


@dataclasses.dataclass(frozen=True)
class Roles:
    """Files by what they are: `kinds` are the masks by the words that say so."""

    images: list[Named]
    kinds: dict[tuple[str, ...], list[Named]]
    unused: list[tuple[Path, str]]


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
    roles = Roles([], {}, [])
    plain: list[Named] = []
    for file in files:
        role = role_of(file, mask_words)
        if patterns.masks and fits(file.path, directory, patterns.masks):
            roles.kinds.setdefault(("named by --masks",), []).append(file)
        elif patterns.images and not fits(file.path, directory, patterns.images):
            roles.unused.append((file.path, f"does not fit --images {patterns.images}"))
        elif patterns.images or role in ("image", ""):
            (roles.images if patterns.images or role else plain).append(file)
        elif role == "other":
            roles.unused.append((file.path, "named like a preview, an overlay or a prediction"))
        elif patterns.masks:
            roles.unused.append((file.path, f"does not fit --masks {patterns.masks}"))
        elif role == "mask" or doubtful:
            roles.kinds.setdefault(role_words(file), []).append(file)
        else:
            plain.append(file)
    in_folders = [file for file in roles.images if file.folder_role == "image"]
    if in_folders and plain and roles.kinds:
        folders = sorted({file.folders[-1] for file in in_folders})
        why = f"lies outside of {', '.join(f'{name}/' for name in folders[:3])}"
        roles.unused.extend((file.path, why) for file in plain)
    else:
        roles.images.extend(plain)
        roles.images.sort(key=lambda file: file.path.parts)
    return roles
