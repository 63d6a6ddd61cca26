"""Which files a source folder holds. Links to folders are followed once, so that a loop ends."""

from __future__ import annotations

import os
from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.run.tables import Rejected

# What operating systems and people leave lying about; nobody means them as images.
_CLUTTER = (".ds_store", "thumbs.db", "desktop.ini")
_CLUTTER_SUFFIXES = (
    ".csv",
    ".txt",
    ".md",
    ".json",
    ".xml",
    ".yaml",
    ".yml",
    ".pdf",
    ".html",
    ".xlsx",
)


def walk_files(directory: Path, root: Path) -> tuple[list[Path], list[Rejected]]:
    """All files below `directory`, sorted; and what is none although it looks like one: pipes,
    broken links, folders that are called like pictures or cannot be opened. Links to folders are
    followed once, so that a loop ends."""
    found: list[Path] = []
    odd: list[Rejected] = []

    def refuse(path: Path, reason: str) -> None:
        odd.append(Rejected(shown(path, root), reason))

    def on_error(error: OSError) -> None:
        refuse(Path(str(error.filename)), f"folder cannot be opened: {error.strerror}")

    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(directory, onerror=on_error, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in folders:
            if name.lower().endswith(IMAGE_SUFFIXES):
                refuse(Path(folder, name), "a folder, not an image")
        for name in files:
            path = Path(folder, name)
            if os.path.isfile(path):
                found += [] if name.lower() in _CLUTTER else [path]
            else:  # reading a pipe or a device would never end
                refuse(
                    path, "a link that leads nowhere" if path.is_symlink() else "not a regular file"
                )
    return sorted(found), odd


def any_file(directory: Path, *patterns: str, depth: int = 3) -> Path | None:
    """A file or folder below `directory`, at most `depth` levels down, whose name fits one of the
    patterns; or None."""
    for level in range(1, depth + 1):
        for pattern in patterns:
            found = next(directory.glob("*/" * (level - 1) + pattern), None)
            if found is not None:
                return found
    return None


def image_files(directory: Path, root: Path) -> tuple[list[Path], list[Rejected]]:
    """Image files below `directory`, and the files that are none (tables and notes are passed over
    in silence)."""
    images = []
    files, rejected = walk_files(directory, root)
    for path in files:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        elif path.suffix.lower() not in _CLUTTER_SUFFIXES:
            rejected.append(
                Rejected(shown(path, root), f"not an image file type ({', '.join(IMAGE_SUFFIXES)})")
            )
    return images, rejected
