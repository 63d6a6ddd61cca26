"""What a source is: a folder in some layout, read as a list of raw cases. No pixels are read while
listing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from meddistill.data.masks import Labels
from meddistill.data.raw_case import RawCase
from meddistill.run.tables import Rejected


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """What a user may say about how to read a source.

    `labels`: which values or colours of a mask are lesion (`masks.parse_labels`). `findings`:
    whether several are told apart, so that masks are drawn one a class. `finding_names`: those that
    files or folders of masks may be called by, () for whatever they are called, None where masks
    say it by their values. `structures`: those that structures of DICOM files, and of 3D Slicer's, may
    be called by, one of them, too; likewise. `classes`: which
    classes of boxes to keep, for layouts that name a class a box. `axis`, `channel`, `empty_slices`
    are for volumes: along which axis to slice (0 sagittal, 1 coronal, 2 axial), which modality or
    channel, which share of the slices without lesion to keep where not all are (`whole_volumes`).
    `boxes_given`: boxes come from a
    table of the user's. `unannotated`: what an image without any object in an annotation file means
    (`none`, `unknown`, or `auto`: as its format says). `annotators`: what to do with several
    people's boxes of one image (`annotations.agree`, or `ask`).
    `images`, `masks`: patterns of paths, which go before what names say.
    `resample_masks`: masks of volumes are brought onto their images' grids.
    `keep_names`: patients' identifiers may be groups; else they are hashed with `patient_key`, or,
    where that is empty, with a key made of the source (`Listing.patient_key`).
    `accept`: checks that are not to stop anything, by name. `fit_boxes`: what to do with boxes of
    another copy of a picture (`fitted_boxes.fitted`).
    """

    labels: Labels = None
    findings: bool = False
    finding_names: tuple[str, ...] | None = None
    structures: tuple[str, ...] | None = None
    classes: tuple[str, ...] = ()
    axis: int = 2
    channel: str = ""
    empty_slices: float = 0.1
    whole_volumes: bool = True
    keep_names: bool = False
    resample_masks: bool = False
    patient_key: str = ""
    boxes_given: bool = False
    unannotated: str = "auto"
    annotators: str = "ask"
    seed: int = 0
    images: str = ""
    masks: str = ""
    accept: tuple[str, ...] = ()
    fit_boxes: str | float = ""


@dataclasses.dataclass(frozen=True)
class Understood:
    """What a person checks at a glance: how the files of a source were read.

    `images` and `masks`: what their paths have in common. `rule`: how a mask finds its image;
    `example` of it. `values`: what those of label maps were taken for. `readings`: what else it may
    be, with the option that says so. `unused`: files that were left alone, and why.
    """

    images: str = ""
    masks: str = ""
    rule: str = ""
    example: str = ""
    values: str = ""
    readings: Sequence[str] = ()
    unused: Sequence[Rejected] = ()


@dataclasses.dataclass(frozen=True)
class NamedSegments:
    """What the headers of masks name: of each segment in how many; `layered`: segments may overlap."""

    counts: Mapping[str, int]
    layered: bool


@dataclasses.dataclass(frozen=True)
class Listing:
    """All cases of a source, what was passed over, and `notes` on what was recognised, for the
    terminal.

    `box_classes`: the classes found where a class belongs to a box, not to an image; `classes` were
    obeyed then. `tables`: files that were read for the list and are no case's own. `understood`:
    how, where the layout leaves room for more than one reading. `patient_key`: what patients were
    hashed with. `may_overlap`: findings of different values may, unlike those of label maps.
    `segments`: of 3D Slicer, where every mask names some.
    """

    cases: Sequence[RawCase]
    rejected: Sequence[Rejected] = ()
    notes: Sequence[str] = ()
    box_classes: Sequence[str] | None = None
    tables: Sequence[Path] = ()
    understood: Understood = Understood()
    patient_key: str = ""
    may_overlap: bool = False
    segments: NamedSegments | None = None


class Source(Protocol):
    """One layout. `recognise` says why a folder has it, or None; it looks at names only, so that it
    is quick.

    `general`: a layout that gives way where a more special one fits too.
    """

    name: str
    summary: str
    general: bool

    def recognise(self, directory: Path) -> str | None: ...
    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        """Cases in the order of their names. Raises: InputError where the layout is not there."""
        ...
