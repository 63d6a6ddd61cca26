"""One image of a source before it is read, and references to its files that other processes can be
sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclasses.dataclass(frozen=True)
class Picture:
    """Pixels as a file holds them: (H, W) or (H, W, 3) RGB, any real dtype; spacing (row, column)
    in mm if known, and `slice_mm`, the distance from slice to slice of the volume that it is of.

    `window`: (low, high) values that the file asks to be shown. `volume_limits`: (low, high) of the
    whole volume. `inverted`: the lowest value is to be shown white. `scanner_8bit`: 8-bit values of a
    DICOM file, which `IntensitySettings.scanner_8bit` is about. `png`: the file itself where it is
    such a PNG as we write of these pixels.
    """

    pixels: np.ndarray
    spacing_hw_mm: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    volume_limits: tuple[float, float] | None = None
    inverted: bool = False
    slice_mm: float | None = None
    scanner_8bit: bool = False
    png: bytes = b""


class ImageRef(Protocol):
    """Where an image is, small enough to send to another process. `token` says what of the files is
    meant."""

    @property
    def files(self) -> tuple[Path, ...]: ...
    @property
    def token(self) -> str: ...
    def size_hw(self) -> tuple[int, int]:
        """Height and width in px of what `load` gives, from headers alone. Raises: InputError."""
        ...

    def load(self) -> Picture:
        """Raises: InputError for anything that cannot be read."""
        ...


class MaskRef(Protocol):
    """Where a mask is; `files` is empty where it is drawn from a table. `load` gives bool (H, W),
    or (C, H, W) where its values tell findings apart.
    """

    @property
    def files(self) -> tuple[Path, ...]: ...
    @property
    def token(self) -> str: ...
    def load(self) -> np.ndarray:
        """Raises: InputError for anything that cannot be read."""
        ...


@dataclasses.dataclass(frozen=True)
class OneFile:
    """An image or a mask, or one of several, in a file of its own: `files` of such an `ImageRef` or
    `MaskRef`."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)


@dataclasses.dataclass(frozen=True)
class RawCase:
    """One image of a source before it is read.

    `name` is what ties it to tables and becomes its case id; `source` is its path within the source
    folder. `boxes_xyxy_px`: boxes that people drew, half-open; () = looked at, none there; None =
    no boxes given. With neither mask nor boxes nobody has annotated the case. `group` is empty
    where the layout knows none. `columns` are other facts that may choose a split, such as `fold`.
    A slice of a volume that shows nothing is left out in silence, an image that shows nothing is
    rejected; one with `keep_if_empty` False is left out where its mask is empty. `unannotated`:
    nobody has annotated it, whatever a mask says; that is for evaluation alone.
    `box_findings`: the name of what each box holds, where the source tells. `finding_masks`: a mask
    a finding by name, beside or in place of `mask`. `looked_for`: the names of the findings that
    somebody looked for; None: all of them. `volume` names the volume that it is the slice number
    `slice` of, `slice_mm` the distance to the next where a table says so. `whole`: every slice of
    the volume is a case; one that shows nothing is black.
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
    box_findings: tuple[str, ...] = ()
    finding_masks: tuple[tuple[str, MaskRef], ...] = ()
    looked_for: tuple[str, ...] | None = None
    volume: str = ""
    slice: int | None = None
    slice_mm: float | None = None
    whole: bool = False

    @property
    def masks(self) -> tuple[MaskRef, ...]:
        """All that hold a part of its mask."""
        return (*([self.mask] if self.mask else []), *(mask for _, mask in self.finding_masks))

    @property
    def files(self) -> tuple[Path, ...]:
        return self.image.files + tuple(path for mask in self.masks for path in mask.files)
