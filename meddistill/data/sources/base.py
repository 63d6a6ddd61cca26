"""What a source is: a folder in some layout, read as a list of raw cases. No pixels are read while listing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from meddistill.data.masks import Label
from meddistill.run.layout import Rejected

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
# What operating systems and people leave lying about; nobody means them as images.
_CLUTTER = (".ds_store", "thumbs.db", "desktop.ini")
_CLUTTER_SUFFIXES = (".csv", ".txt", ".md", ".json", ".xml", ".yaml", ".yml", ".pdf", ".html", ".xlsx")


@dataclasses.dataclass(frozen=True)
class Picture:
    """Pixels as a file holds them: (H, W) or (H, W, 3) RGB, any real dtype; spacing (row, column) in mm if known.

    `window`: (low, high) values that the file asks to be shown. `volume_limits`: (low, high) of the whole volume.
    `inverted`: the lowest value is to be shown white.
    """

    pixels: np.ndarray
    spacing_hw_mm: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    volume_limits: tuple[float, float] | None = None
    inverted: bool = False


class ImageRef(Protocol):
    """Where an image is, small enough to send to another process. `token` says what of the files is meant."""

    @property
    def files(self) -> tuple[Path, ...]: ...
    @property
    def token(self) -> str: ...
    def load(self) -> Picture:
        """Raises: InputError for anything that cannot be read."""
        ...


class MaskRef(Protocol):
    """Where a mask is; `files` is empty where it is drawn from a table. `load` gives bool (H, W)."""

    @property
    def files(self) -> tuple[Path, ...]: ...
    @property
    def token(self) -> str: ...
    def load(self) -> np.ndarray:
        """Raises: InputError for anything that cannot be read."""
        ...


@dataclasses.dataclass(frozen=True)
class OneFile:
    """An image or a mask, or one of several, in a file of its own: `files` of such an `ImageRef` or `MaskRef`."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)


@dataclasses.dataclass(frozen=True)
class RawCase:
    """One image of a source before it is read.

    `name` is what ties it to tables and becomes its case id; `source` is its path within the source folder.
    `boxes_xyxy_px`: boxes that people drew, half-open; () = looked at, none there; None = no boxes given.
    With neither mask nor boxes nobody has annotated the case. `group` is empty where the layout knows none.
    `columns` are other facts that may choose a split, such as `fold`. A slice of a volume that shows nothing is left
    out in silence, an image that shows nothing is rejected; one with `keep_if_empty` False is left out where its
    mask is empty. `unannotated`: nobody has annotated it, whatever a mask says; that is for evaluation alone.
    """

    name: str
    source: str
    image: ImageRef
    mask: MaskRef | None = None
    boxes_xyxy_px: tuple[tuple[float, float, float, float], ...] | None = None
    class_name: str = ""
    group: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_slice: bool = False
    keep_if_empty: bool = True
    unannotated: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        return self.image.files + (self.mask.files if self.mask else ())


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """What a user may say about how to read a source.

    `labels`: which values or colours of a mask are lesion (`masks.parse_labels`). `classes`: which classes of boxes to
    keep, for layouts that name a class a box. `axis`, `channel`, `empty_slices` are for volumes: along which axis to
    slice (0 sagittal, 1 coronal, 2 axial), which modality or channel, which share of the slices without lesion to keep.
    `boxes_given`: boxes come from a table of the user's.
    """

    labels: tuple[Label, ...] | str | None = None
    classes: tuple[str, ...] = ()
    axis: int = 2
    channel: str = ""
    empty_slices: float = 0.1
    boxes_given: bool = False
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Listing:
    """All cases of a source, what was passed over, and `notes` on what was recognised, for the terminal.

    `box_classes`: the classes found where a class belongs to a box, not to an image; `classes` were obeyed then.
    `tables`: files that were read for the list and are no case's own.
    """

    cases: Sequence[RawCase]
    rejected: Sequence[Rejected] = ()
    notes: Sequence[str] = ()
    box_classes: Sequence[str] | None = None
    tables: Sequence[Path] = ()


class Source(Protocol):
    """One layout. `recognise` says why a folder has it, or None; it looks at names only, so that it is quick.

    `general`: a layout that gives way where a more special one fits too.
    """

    name: str
    summary: str
    general: bool

    def recognise(self, directory: Path) -> str | None: ...
    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        """Cases in the order of their names. Raises: InputError where the layout is not there."""
        ...


def shown(path: Path, directory: Path) -> str:
    """`path` relative to the source folder, as text that any table can hold."""
    return printable(path.relative_to(directory).as_posix())


def printable(text: str) -> str:
    """`text` in one line, with the bytes of a file name that are no UTF-8 escaped: fit for a table or a terminal."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\n", "\\n").replace("\r", "\\r")


def walk_files(directory: Path, root: Path) -> tuple[list[Path], list[Rejected]]:
    """All files below `directory`, sorted; and what is none although it looks like one: pipes, broken links, folders
    that are called like pictures or cannot be opened. Links to folders are followed once, so that a loop ends."""
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
                refuse(path, "a link that leads nowhere" if path.is_symlink() else "not a regular file")
    return sorted(found), odd


def any_file(directory: Path, *patterns: str, depth: int = 3) -> Path | None:
    """A file or folder below `directory`, at most `depth` levels down, whose name fits one of the patterns; or None."""
    for level in range(1, depth + 1):
        for pattern in patterns:
            found = next(directory.glob("*/" * (level - 1) + pattern), None)
            if found is not None:
                return found
    return None


def image_files(directory: Path, root: Path) -> tuple[list[Path], list[Rejected]]:
    """Image files below `directory`, and the files that are none (tables and notes are passed over in silence)."""
    images = []
    files, rejected = walk_files(directory, root)
    for path in files:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        elif path.suffix.lower() not in _CLUTTER_SUFFIXES:
            rejected.append(Rejected(shown(path, root), f"not an image file type ({', '.join(IMAGE_SUFFIXES)})"))
    return images, rejected
