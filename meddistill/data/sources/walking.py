"""Which files a source folder holds. It is listed from disk once, whoever asks; links to folders are
followed once, and those that lead back into the source not at all."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.run.tables import Rejected

# What operating systems and people leave lying about; nobody means them as images.
_CLUTTER = (".ds_store", "thumbs.db", "desktop.ini")
_CLUTTER_FOLDERS = ("__macosx", ".git", ".ipynb_checkpoints", ".svn")
_RESOURCE_FORK = "._"  # what macOS puts beside every file on other systems' disks
RESOURCE_FORK = "a resource fork of macOS, not a picture"
"""Why such a file is passed over."""
_CLUTTER_SUFFIXES = (
    ".csv",
    ".txt",
    ".lst",
    ".list",
    ".md",
    ".json",
    ".xml",
    ".yaml",
    ".yml",
    ".pdf",
    ".html",
    ".xlsx",
    ".names",
    ".labels",
    ".data",
    ".cfg",
)


def is_clutter(path: Path) -> bool:
    """Whether it is what an operating system leaves in a folder that somebody opened."""
    name = path.name.lower()
    return name in _CLUTTER or name.startswith(_RESOURCE_FORK)


class Tree:
    """What lies below a folder: `files` in the order of their paths, and what is none although it
    looks like one (`odd`, with the reason): pipes, broken links, links back into the source, folders
    that are called like pictures or cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: list[Path] = []
        self.odd: list[tuple[Path, str]] = []
        self._entries: list[list[str]] = []  # of each depth: paths of files and folders
        self._root = os.path.realpath(directory)
        self._seen: set[tuple[int, int]] = set()
        self._walk(os.fspath(directory), 0)

    def _walk(self, folder: str, depth: int) -> None:
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in self._seen:
                return
            self._seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self.odd.append((Path(folder), f"folder cannot be opened: {error.strerror}"))
            return
        if depth == len(self._entries):
            self._entries.append([])
        here, files, parent = self._entries[depth], self.files, Path(folder)
        for entry in entries:
            name = entry.name.lower()
            if not _leads_to_file(entry):
                self._no_file(entry, name, depth)
            elif name.startswith(_RESOURCE_FORK):
                self.odd.append((Path(entry.path), RESOURCE_FORK))
            elif name not in _CLUTTER:
                here.append(entry.path)
                files.append(parent / entry.name)  # cheaper than to cut up the whole path

    def _no_file(self, entry: os.DirEntry[str], name: str, depth: int) -> None:
        """A folder, which is walked, or what is neither: reading a pipe or a device would never end."""
        path, reason = Path(entry.path), ""
        if not _leads_to_folder(entry):
            is_link = entry.is_symlink()
            reason = "a link that leads nowhere" if is_link else "not a regular file"
        elif name in _CLUTTER_FOLDERS:
            return
        elif entry.is_symlink() and self._leads_back(entry.path):
            reason = "a link back into the source, not followed"
        else:
            self._entries[depth].append(entry.path)
            self._walk(entry.path, depth + 1)
            reason = "a folder, not an image" if name.endswith(IMAGE_SUFFIXES) else ""
        if reason:
            self.odd.append((path, reason))

    def _leads_back(self, link: str) -> bool:
        """Whether a link leads to a folder of the source, or to one that the source lies in."""
        target = os.path.realpath(link)
        return f"{target}/".startswith(f"{self._root}/") or f"{self._root}/".startswith(
            f"{target.rstrip('/')}/"
        )

    @cached_property
    def _names(self) -> list[tuple[str, list[int]]]:
        """Of each depth: the names below one another, and where each begins."""
        found = []
        for paths in self._entries:
            names = [path.rpartition("/")[2].replace("\n", "\0") for path in paths]
            starts = list(accumulate((len(name) + 1 for name in names[:-1]), initial=0))
            found.append(("\n".join(names), starts))
        return found

    def find(self, patterns: Iterable[str], depth: int | None) -> Path | None:
        """The first file or folder, nearest to the top, whose name fits one of the patterns."""
        expressions = [re.compile(_expression(pattern), re.MULTILINE) for pattern in patterns]
        for paths, (names, starts) in list(zip(self._entries, self._names, strict=True))[:depth]:
            for expression in expressions:
                match = expression.search(names) if paths else None
                if match:
                    return Path(paths[bisect_right(starts, match.start()) - 1])
        return None

    @cached_property
    def by_ending(self) -> dict[str, list[int]]:
        """Of each ending of a name, in lower case with its point, the places of its files."""
        found: dict[str, list[int]] = {}
        for place, path in enumerate(self.files):
            name = path.name
            found.setdefault(name[name.rfind(".") :].lower() if "." in name else "", []).append(
                place
            )
        return found

    def below(self, directory: Path) -> list[Path]:
        """The files below a folder of the tree, in their order."""
        start = f"{os.fspath(directory)}/"
        return [path for path in self.files if os.fspath(path).startswith(start)]


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _leads_to_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*|\?|\[[^\]]+\])", pattern)
    wild = {"*": r"[^\n]*", "?": r"[^\n]"}
    body = "".join(
        wild.get(part, part if part.startswith("[") else re.escape(part)) for part in parts
    )
    return f"^{body}$"


_tree: Tree | None = None


@contextmanager
def listed_once(directory: Path) -> Iterator[Tree]:
    """Within it whoever asks for files of `directory` is told from one listing of the disk."""
    global _tree
    before, _tree = _tree, Tree(directory)
    try:
        yield _tree
    finally:
        _tree = before


def _tree_of(directory: Path) -> Tree:
    """The listing that holds `directory`, or one of its own."""
    if _tree is not None and (directory == _tree.directory or _tree.directory in directory.parents):
        return _tree
    return Tree(directory)


def walk_files(directory: Path, root: Path) -> tuple[list[Path], list[Rejected]]:
    """All files below `directory` in the order of their paths, and what is none although it looks
    like one; paths in the reasons are relative to `root`. See `Tree`."""
    tree = _tree_of(directory)
    files, odd = tree.files, tree.odd
    if directory != tree.directory:
        files = tree.below(directory)
        odd = [(path, reason) for path, reason in odd if directory in (path, *path.parents)]
    return list(files), [Rejected(shown(path, root), reason) for path, reason in odd]


def files_ending(directory: Path, endings: Iterable[str]) -> list[Path]:
    """The files below `directory` whose names end in one of the endings (lower case, one point each), in
    the order of their paths."""
    tree = _tree_of(directory)
    places = sorted(place for ending in endings for place in tree.by_ending.get(ending, ()))
    found = [tree.files[place] for place in places]
    inside = directory == tree.directory
    return found if inside else [path for path in found if directory in path.parents]


def any_file(directory: Path, *patterns: str, depth: int | None = None) -> Path | None:
    """A file or folder below `directory`, at most `depth` levels down where it is given, whose name
    fits one of the patterns; or None."""
    if _tree is not None and directory == _tree.directory:
        return _tree.find(patterns, depth)
    if depth is None:
        return Tree(directory).find(patterns, depth)
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
