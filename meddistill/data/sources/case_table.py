"""A table of cases, `--table FILE`: an image a row (or a row a box), with its mask, boxes, class,
group, split and spacing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError, why_rejected
from meddistill.base.paths import printable, shown
from meddistill.data.annotations import AnnotatedImage
from meddistill.data.formats.annotation_format import KnownBeside
from meddistill.data.formats.box_columns import (
    CLASS_COLUMNS,
    EMPTY,
    GROUP_COLUMNS,
    IMAGE_COLUMNS,
    MASK_COLUMNS,
    SPACING_COLUMNS,
    SPLIT_COLUMNS,
    box_columns,
    first_of,
    read_spacing,
)
from meddistill.data.formats.box_table import BoxTable
from meddistill.data.formats.known_volume_formats import VOLUME_SUFFIXES
from meddistill.data.formats.picture_refs import ImageFile, MaskFiles
from meddistill.data.formats.pictures import IMAGE_SUFFIXES, picture_size
from meddistill.data.formats.tables import read_table_rows
from meddistill.data.image_names import ImageNames
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotated_cases import (
    is_looked_at,
    main_class,
    one_reading,
    wanted,
)
from meddistill.data.sources.fitted_boxes import fitted
from meddistill.data.sources.masks_beside import split_off_masks
from meddistill.data.sources.naming import stem_of
from meddistill.data.sources.slicer_masks import with_segments
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.volume_cases import VolumeMasks, volume_cases, with_spacing
from meddistill.data.sources.walking import walk_files
from meddistill.run.tables import Rejected

_ENDINGS = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)
TABLE = "table"
"""What the layout is called in run.json."""


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Which column holds what; None for what the table lacks."""

    image: int
    mask: int | None
    class_name: int | None
    group: int | None
    split: int | None
    spacing: int | None
    box: tuple[int, ...]

    @classmethod
    def of(cls, header: Sequence[str], first: Sequence[str], path: Path) -> _Columns:
        """By the names of the columns; one that is called after a label, and whose first value is a
        picture's file, is the mask. Raises: InputError where there is no column of images."""
        image = first_of(header, IMAGE_COLUMNS)
        if image is None:
            raise InputError(
                f"table {path} has the columns {', '.join(header) or 'none'}; expected one of "
                f"{', '.join(IMAGE_COLUMNS[:8])}"
            )
        mask, class_name = first_of(header, MASK_COLUMNS), first_of(header, CLASS_COLUMNS)
        labels = "" if class_name is None or not first else first[class_name]
        if mask is None and labels.lower().endswith(_ENDINGS):
            mask, class_name = class_name, None
        group, split = first_of(header, GROUP_COLUMNS), first_of(header, SPLIT_COLUMNS)
        found = box_columns(header)
        return cls(
            image,
            mask,
            class_name,
            None if group == image else group,
            split,
            first_of(header, SPACING_COLUMNS),
            found.indices if found else (),
        )

    def said(self, header: Sequence[str]) -> str:
        """How the columns were understood, in a line."""
        parts = [
            f"{name} in '{header[index]}'"
            for name, index in (
                ("image", self.image),
                ("mask", self.mask),
                ("class", self.class_name),
                ("group", self.group),
                ("split", self.split),
                ("spacing", self.spacing),
            )
            if index is not None
        ]
        if self.box:
            parts.append(f"boxes in {', '.join(repr(header[index]) for index in self.box)}")
        return "; ".join(parts)


def list_table(path: Path, directory: Path, options: SourceOptions) -> Listing:
    """The cases that a table names, in its order; images and masks lie below `directory`, and are
    told as `ImageNames` tells them. Other columns are there to choose a split by.

    With columns of a box these say what is annotated (a row without values: nothing there), and a
    mask serves the evaluation alone; else boxes come from the mask, and an image without one is
    unknown. Raises: InputError for a table that cannot be read, lacks the images' column, or names
    none that is there.
    """
    header, rows = read_table_rows(path)
    all_rows = list(rows)
    columns = _Columns.of(header, all_rows[0][1] if all_rows else (), path)
    cases = _Cases(path, header, directory, options, columns)
    if columns.box:
        cases.read_boxes()
    facts = _facts(all_rows, header, columns, path)
    listed = [case for name, row in facts.items() for case in cases.of_row(name, row)]
    if not listed:
        first = f", the first {next(iter(facts))}" if facts else ""
        why = f" ({cases.rejected[0].reason})" if cases.rejected else ""
        raise InputError(f"{path} names {len(facts)} images{first}: none is below {directory}{why}")
    segmented = with_segments(listed, directory, options)
    said = f"{path.name}: {columns.said(header)}"
    notes = [said, *cases.notes, *cases.fitting, *segmented.notes]
    classes = sorted(cases.classes) if columns.box else None
    may_overlap = segmented.named is not None and segmented.named.layered
    return Listing(
        segmented.cases,
        cases.rejected,
        notes,
        classes,
        may_overlap=may_overlap,
        segments=segmented.named,
    )


def _facts(
    rows: Sequence[tuple[int, list[str]]], header: Sequence[str], columns: _Columns, path: Path
) -> dict[str, dict[str, str]]:
    """What the table says of each image besides its boxes, by column. Raises: InputError where two
    rows of an image differ."""
    found: dict[str, dict[str, str]] = {}
    own = {columns.image, *columns.box}
    if columns.box:
        own |= set() if columns.class_name is None else {columns.class_name}  # a box's own
    kept = [index for index in range(len(header)) if index not in own]
    whole = {columns.mask, columns.group, columns.split, columns.spacing}
    for number, row in rows:
        name = row[columns.image]
        if not any(row):
            continue
        facts = {header[index]: row[index] for index in kept}
        before = found.setdefault(name, facts)
        for index in kept:
            if index in whole and before[header[index]] != row[index]:
                raise InputError(
                    f"{path} line {number}: '{name}' has the {header[index]} "
                    f"'{before[header[index]]}' and '{row[index]}'"
                )
    return found


class _FilesByName:
    """Files of the source, and how a table may call them."""

    def __init__(self, files: Sequence[Path], directory: Path) -> None:
        self._files = files
        self._names = ImageNames([file.relative_to(directory).as_posix() for file in files])

    def find(self, name: str, folder: str) -> Path:
        return self._files[self._names.find(name, folder)]


def _first_of(choices: Sequence[_FilesByName], name: str, folder: str) -> Path:
    """The file that the first of the choices finds. Raises: InputError, as the last says."""
    for choice in choices[:-1]:
        try:
            return choice.find(name, folder)
        except InputError:
            continue
    return choices[-1].find(name, folder)


class _Cases:
    """Cases of a table's images, one after the other."""

    def __init__(
        self,
        path: Path,
        header: Sequence[str],
        directory: Path,
        options: SourceOptions,
        columns: _Columns,
    ) -> None:
        self.rejected: list[Rejected] = []
        self.notes: list[str] = []
        self.classes: set[str] = set()
        self._path, self._directory, self._options, self._columns = (
            path,
            directory,
            options,
            columns,
        )
        self._header = header
        files, _ = walk_files(directory, directory)
        every = [file for file in files if file.name.lower().endswith(_ENDINGS)]
        images, masks = split_off_masks(every, directory)
        # A name that an image and a mask share means each in its own column.
        stems = (stem_of(image.name, VOLUME_SUFFIXES) for image in images)
        self._stems = Counter(stems)
        self._images = [_FilesByName(found, directory) for found in (images, every)]
        self._masks = [_FilesByName(found, directory) for found in (masks, every)]
        here = path.parent
        self._folder = (
            here.relative_to(directory).as_posix() if here.is_relative_to(directory) else ""
        )
        self._said: dict[str, list[AnnotatedImage]] = {}
        self._scaled: Counter[str] = Counter()

    @property
    def fitting(self) -> list[str]:
        """What was done to boxes of other copies of the pictures, a line each."""
        return [f"{done}: {count}" for done, count in sorted(self._scaled.items()) if count]

    def read_boxes(self) -> None:
        content = BoxTable().read(self._path, KnownBeside(size_of=self._size_of))
        self.classes = set(content.classes)
        self.notes += [f"{text}: {count}" for text, count in content.notes.items() if count]
        for said in content.images:
            self._said.setdefault(said.image, []).append(said)

    def _size_of(self, name: str) -> tuple[int, int] | None:
        try:
            return picture_size(self._file(name))
        except InputError:
            return None

    def _file(self, name: str) -> Path:
        return _first_of(self._images, name, self._folder)

    def of_row(self, name: str, row: Mapping[str, str]) -> list[RawCase]:
        """The case of an image, or those of a volume's slices; none for one that is rejected."""
        try:
            path = self._file(name)
            if path.name.lower().endswith(VOLUME_SUFFIXES):
                return self._slices(path, row)
            mask = self._mask(row)
            spacing = read_spacing(self._value(row, self._columns.spacing))
            said = None
            if self._columns.box:
                said = self._fitted(one_reading(self._said[name], self._options), path)
        except InputError as error:
            self.rejected.append(Rejected(printable(name or "?"), why_rejected(error)))
            return []
        case = RawCase(
            path.stem,
            shown(path, self._directory),
            ImageFile(path, spacing[:2] if spacing else None),
            mask,
            None,
            "" if self._columns.box else self._value(row, self._columns.class_name),
            self._value(row, self._columns.group),
            dict(row) | self._split(row),
            unannotated=bool(self._columns.box),
        )
        if said is None or not is_looked_at(said, self._options):
            return [case]
        objects = wanted(said.objects, self._options)
        boxes = tuple(each.box_xyxy_px for each in objects)
        boxed = dataclasses.replace(
            case,
            boxes_xyxy_px=boxes,
            class_name=main_class(objects),
            box_findings=tuple(each.class_name for each in objects),
        )
        return [boxed]

    def _fitted(self, said: AnnotatedImage, path: Path) -> AnnotatedImage:
        size_hw = picture_size(path) if said.size_hw and said.objects else None
        said, done = fitted(said, size_hw, self._options.fit_boxes)
        self._scaled[done] += bool(done)
        return said

    def _slices(self, path: Path, row: Mapping[str, str]) -> list[RawCase]:
        """Raises: InputError for a volume that cannot be cut, or with boxes, which have no slice."""
        if self._columns.box:
            raise InputError("boxes in a table do not say which slice of a volume they are on")
        mask = self._mask(row)
        name = stem_of(path.name, VOLUME_SUFFIXES)
        # `p01/scan.nii.gz` and `p02/scan.nii.gz` are two patients.
        own = name if self._stems[name] < 2 else shown(path, self._directory)
        group = self._value(row, self._columns.group) or own
        slices = volume_cases(
            name,
            path,
            VolumeMasks(mask.paths) if mask else VolumeMasks(),
            self._options.channel,
            self._directory,
            self._options,
            group,
        )
        class_name = self._value(row, self._columns.class_name)
        columns = dict(row) | self._split(row)
        told = read_spacing(self._value(row, self._columns.spacing))
        return [
            dataclasses.replace(
                case,
                image=with_spacing(case.image, told),
                class_name=class_name,
                columns=columns,
            )
            for case in slices
        ]

    def _value(self, row: Mapping[str, str], index: int | None) -> str:
        return "" if index is None else row[self._header[index]]

    def _split(self, row: Mapping[str, str]) -> dict[str, str]:
        split = self._value(row, self._columns.split)
        return {"split": split} if split else {}

    def _mask(self, row: Mapping[str, str]) -> MaskFiles | None:
        name = self._value(row, self._columns.mask)
        if name.lower() in EMPTY:
            return None
        try:
            path = _first_of(self._masks, name, self._folder)
            return MaskFiles((path,), self._options.labels)
        except InputError as error:
            raise InputError(str(error).replace("image file", "mask file")) from None
