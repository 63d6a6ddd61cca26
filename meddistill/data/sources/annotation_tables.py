"""A folder that holds images and the files of a label tool: every annotation format that has no
layout of its own."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from meddistill.base.errors import InputError, why_rejected
from meddistill.base.paths import printable, shown
from meddistill.data.annotations import AnnotatedImage, AnnotationFile, counted_from_zero
from meddistill.data.formats.annotation_format import AnnotationFormat, KnownBeside
from meddistill.data.formats.pictures import IMAGE_SUFFIXES, picture_size
from meddistill.data.image_names import ImageNames, may_be_one_image
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotated_cases import (
    RECTANGLES,
    SeveralReadingsError,
    annotated_case,
    is_looked_at,
    one_reading,
    rectangles_in,
    several_readings,
)
from meddistill.data.sources.fitted_boxes import fitted
from meddistill.data.sources.masks_beside import SPLIT_FOLDERS, masks_of, split_off_masks
from meddistill.data.sources.patient_folders import with_patients
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import files_ending, walk_files
from meddistill.run.tables import Rejected

_MOST_LOOKED_INTO = 50
"""Files of one suffix at one depth whose beginning is read to recognise a format."""
_QUICK = 4 << 20
"""Bytes of a file that is soon read once more."""


class AnnotationTables:
    """The layout of one annotation format."""

    general = False

    def __init__(self, annotation_format: AnnotationFormat) -> None:
        self._format = annotation_format
        self.name = annotation_format.name
        self.per_image = annotation_format.per_image
        self.summary = f"{annotation_format.summary}, and the images"

    def recognise(self, directory: Path) -> str | None:
        for path in self._files(directory, most=_MOST_LOOKED_INTO):
            if reason := self._format.recognise(path):
                return f"{shown(path, directory)} {reason}"
        return None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        """Cases in the order of the files and of the images in each, then the images that no file
        names, which are unknown. The column `split` is what a file says of an image, else the
        file's stem."""
        found, rejected = walk_files(directory, directory)
        pictures, masks = split_off_masks(
            [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES], directory
        )
        readings = _Readings(pictures, directory, self._format, options)
        for table in self.tables(directory):
            readings.read(table)
        if not readings.tables:
            raise InputError(self._not_there(directory))
        listing = readings.listing()
        cases = with_patients(listing.cases, directory)
        cases, without_image = masks_of(cases, masks, directory, options)
        rejected = [*rejected, *listing.rejected, *without_image]
        return dataclasses.replace(listing, cases=cases, rejected=rejected)

    def check(self, directory: Path) -> None:
        """Raise InputError where all files that look like the format's turn out to be another tool's,
        before anybody is told that they are read."""
        like_it = (path for path in self._files(directory) if self._format.recognise(path))
        for place, path in enumerate(like_it):
            if place == _MOST_LOOKED_INTO or self._may_be(path):
                return
        raise InputError(self._not_there(directory))

    def _may_be(self, path: Path) -> bool:
        """Whether a file is of the format, or that is too long to tell, or listing it tells more."""
        try:
            return path.stat().st_size > _QUICK or self._format.read(path) is not None
        except (OSError, InputError):
            return True

    def _not_there(self, directory: Path) -> str:
        strange = next(iter(self.tables(directory)), None)
        like = f" ({shown(strange, directory)} is another tool's?)" if strange else ""
        return (
            f"{directory} holds no {self._format.looks_like}, the layout of {self.name}{like}; "
            "`meddistill sources` lists what is read, --dataset folder takes pictures alone"
        )

    def tables(self, directory: Path) -> list[Path]:
        """The files of the format, in the order of their paths."""
        return [path for path in self._files(directory) if self._format.recognise(path)]

    def _files(self, directory: Path, most: int | None = None) -> list[Path]:
        """Files with the format's endings, in the order of their paths; at most so many of a depth."""
        depths: Counter[int] = Counter()
        found = []
        for path in files_ending(directory, self._format.suffixes):
            depths[len(path.parts)] += 1
            if most is None or depths[len(path.parts)] <= most:
                found.append(path)
        return found


class _Readings:
    """What the files say of each picture."""

    def __init__(
        self,
        pictures: Sequence[Path],
        directory: Path,
        annotation_format: AnnotationFormat,
        options: SourceOptions,
    ) -> None:
        self._options = options
        self.tables: list[Path] = []
        self._beside: list[Path] = []
        self._pictures, self._directory, self._format = pictures, directory, annotation_format
        self._names = ImageNames([path.relative_to(directory).as_posix() for path in pictures])
        self._said: dict[int, list[tuple[AnnotatedImage, Path]]] = {}
        self._rejected: list[Rejected] = []
        self._classes: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._refused: set[int] = set()
        self._sizes: dict[int, tuple[int, int]] = {}

    def read(self, table: Path) -> None:
        """Raises: InputError for a file that cannot be read, unless it speaks of one image
        alone."""
        try:
            size_of = partial(self._size_of, table)
            content = self._format.read(table, KnownBeside(size_of=size_of))
        except InputError as error:
            if not self._format.per_image:
                raise
            self.tables.append(table)
            self._refuse_image_of(table, why_rejected(error))
            return
        if content is None:
            return
        self.tables.append(table)
        self._beside += content.beside
        self._classes |= set(content.classes)
        self._counts.update(content.notes)
        self._take(content, table)

    def _take(self, content: AnnotationFile, table: Path) -> None:
        for said in content.images:
            index = None
            try:
                index = self._index(said, table)
                if said.problem:
                    raise InputError(f"entry of {table.name} is damaged: {said.problem}")
                said = self._fitted(index, said)
            except InputError as error:
                self._refused |= set() if index is None else {index}
                source = shown(table, self._directory) if self._format.per_image else said.image
                reason = why_rejected(error)
                if index is None:
                    reason = f"entry of {table.name} is damaged: {said.problem or reason}"
                self._rejected.append(Rejected(printable(source or "?"), reason))
                continue
            self._said.setdefault(index, []).append((said, table))

    def _index(self, said: AnnotatedImage, table: Path) -> int:
        """The picture that is meant: by its name, or, where the file speaks of one image, by the
        file's own. Raises: InputError where there is none, and where the two are different pictures.
        """
        below = table.relative_to(self._directory)
        folder = below.parent.as_posix()
        if said.image and not self._format.per_image:
            return self._names.find(said.image, folder)
        stem = below.with_suffix("").as_posix()
        named = self._found(said.image, folder) if said.image else None
        own = self._found(stem, folder)
        if named is not None and own is not None and named != own:
            own_name, other = (
                shown(self._pictures[index], self._directory) for index in (own, named)
            )
            raise InputError(
                f"it lies beside {own_name} and says that it is of {other}: rename it, or correct "
                "the name in it"
            )
        return self._names.find(stem, folder) if named is None else named

    def _found(self, name: str, folder: str) -> int | None:
        try:
            return self._names.find(name, folder)
        except InputError:
            return None

    def listing(self) -> Listing:
        """The cases of all pictures, those that files name first. Raises: InputError where several
        people annotated an image and the user has not chosen, and where no file names a picture."""
        options = self._options
        if self._pictures and self._rejected and not (self._said or self._refused):
            raise InputError(self._strangers())
        self._settle_counting()
        cases, several = [], []
        count = {True: 0, False: 0}
        for index, entries in self._said.items():
            if index in self._refused:  # an entry that cannot be used may be the one that counts
                continue
            path, readings = self._pictures[index], [said for said, _ in entries]
            try:
                _check_names(readings)
                said = one_reading(readings, options)
            except SeveralReadingsError as error:
                several.append(error.told)
                continue
            except InputError as error:
                self._rejected.append(Rejected(shown(path, self._directory), why_rejected(error)))
                continue
            if not said.objects:
                count[is_looked_at(said, options) and self._knows_all(said)] += 1
            columns = self._columns(said, entries[0][1]) or self._split_of(path)
            cases.append(annotated_case(path, self._directory, said, options, columns))
        if several:
            raise InputError(several_readings(several))
        if self._format.per_image:
            cases.sort(key=lambda case: case.source)
        notes = self._all_notes(count)
        cases += self._unnamed()
        return Listing(
            cases, self._rejected, notes, sorted(self._classes), [*self.tables, *self._beside]
        )

    def _strangers(self) -> str:
        """What is wrong where no entry finds its picture."""
        tables, there = (
            ", ".join(shown(path, self._directory) for path in paths[:3])
            for paths in (self.tables, self._pictures)
        )
        reason = self._rejected[0].reason.partition("damaged: ")[2]
        return (
            f"none of {len(self._rejected)} entries of {tables} finds its image ({reason}) among {there}: "
            "rename them, or --dataset folder takes the images alone"
        )

    def _knows_all(self, said: AnnotatedImage) -> bool:
        """Whether what was looked for in an image tells that nothing is there: by finding always, of
        one finding where that was all."""
        classes = set(self._options.classes) or self._classes
        return self._options.findings or said.looked_for is None or classes <= set(said.looked_for)

    def _settle_counting(self) -> None:
        """Where one file counts pixels from 0, those beside it do that show nothing of it."""
        counted = [said.from_one for entries in self._said.values() for said, _ in entries]
        if False in counted:
            self._counts["corners count from 0, as some at 0 or their tool show"] = sum(
                each is not None for each in counted
            )
            self._said = {
                index: [
                    (counted_from_zero(said) if said.from_one else said, table)
                    for said, table in entries
                ]
                for index, entries in self._said.items()
            }
        elif True in counted:
            self._counts["corners count from 1, as Pascal VOC's do"] = counted.count(True)

    def _unnamed(self) -> list[RawCase]:
        """Cases of the pictures that nothing was said of, neither good nor bad."""
        return [
            annotated_case(path, self._directory, None, self._options, self._split_of(path))
            for index, path in enumerate(self._pictures)
            if index not in self._said and index not in self._refused
        ]

    def _split_of(self, picture: Path) -> Mapping[str, str]:
        """The split that a picture's folder names."""
        parts = picture.relative_to(self._directory).parts[:-1]
        split = next((part for part in reversed(parts) if part.lower() in SPLIT_FOLDERS), "")
        return {"split": split} if split else {}

    def _columns(self, said: AnnotatedImage, table: Path) -> Mapping[str, str]:
        if said.columns or self._format.per_image or not said.image:
            return said.columns
        folders = [
            part
            for part in table.relative_to(self._directory).parts[:-1]
            if part.lower() in SPLIT_FOLDERS
        ]
        if not folders and len(self.tables) < 2:
            return {}
        return {"split": folders[-1] if folders else table.stem}

    def _all_notes(self, without_object: Mapping[bool, int]) -> list[str]:
        notes = [f"{text}: {count}" for text, count in sorted(self._counts.items()) if count]
        if not self._format.per_image:  # whose files are called as their images
            notes += [
                f"images that are told by {rule}: {count}"
                for rule, count in self._names.rules.items()
            ]
        if without_object[False]:
            notes.append(
                f"images listed without an object, taken as unknown: {without_object[False]} "
                "(--unannotated none, where somebody looked at them)"
            )
        if without_object[True]:
            notes.append(
                "images listed without an object, taken as looked at with nothing there: "
                f"{without_object[True]} (--unannotated unknown, where nobody did)"
            )
        unnamed = len(self._pictures) - len(self._said.keys() | self._refused)
        if unnamed:
            notes.append(f"images that no file names, taken as unknown: {unnamed}")
        return notes

    def _refuse_image_of(self, table: Path, reason: str) -> None:
        """Reject the image of a file that cannot be read: it is not unknown, its boxes are."""
        path = table
        try:
            index = self._index(AnnotatedImage(), table)
        except InputError:
            pass
        else:
            self._refused.add(index)
            path = self._pictures[index]
        self._rejected.append(Rejected(shown(path, self._directory), reason))

    def _size_of(self, table: Path, name: str) -> tuple[int, int] | None:
        try:
            return self._size(self._index(AnnotatedImage(name), table))
        except InputError:
            return None

    def _size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            self._sizes[index] = picture_size(self._pictures[index])
        return self._sizes[index]

    def _fitted(self, index: int, said: AnnotatedImage) -> AnnotatedImage:
        """The image as `fitted` has it. Raises: InputError for a picture of another size."""
        needs_size = said.size_hw is not None and bool(said.objects)
        size_hw = self._size(index) if needs_size else None
        said, done = fitted(said, size_hw, self._options.fit_boxes)
        self._counts[done] += bool(done)
        self._counts[RECTANGLES] += rectangles_in(said)
        if said.size_hw is None and any(each.has_shape for each in said.objects):
            said = dataclasses.replace(said, size_hw=self._size(index))  # outlines are drawn in it
        return said


def _check_names(readings: Sequence[AnnotatedImage]) -> None:
    """Raises: InputError for entries that only by accident lead to one picture."""
    names = list(dict.fromkeys(said.image for said in readings if said.image))
    for name in names[1:]:
        if not may_be_one_image(names[0], name):
            raise InputError(f"both {names[0]} and {name} would be this image")
