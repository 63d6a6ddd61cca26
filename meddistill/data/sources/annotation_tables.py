"""A folder that holds images and the files of a label tool, which name the images: COCO, and every
annotation format that has no layout of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.annotations import AnnotatedImage
from meddistill.data.formats.annotation_format import AnnotationFormat
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotated_cases import annotated_case
from meddistill.data.sources.pairing import by_name
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import walk_files
from meddistill.run.tables import Rejected


class AnnotationTables:
    """The layout of one annotation format; its files lie at most two folders down."""

    general = False

    def __init__(self, annotation_format: AnnotationFormat) -> None:
        self._format = annotation_format
        self.name = annotation_format.name
        self.summary = f"{annotation_format.summary}, and the images"

    def recognise(self, directory: Path) -> str | None:
        for path in self._files(directory):
            if reason := self._format.recognise(path):
                return f"{shown(path, directory)} {reason}"
        return None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        """Cases in the order of the files and of the images in each; the file's stem is the column
        `split`. An image that no file names is no case."""
        found, rejected = walk_files(directory, directory)
        pictures = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
        by_file_name = by_name(pictures, lambda path: path.name)
        cases: list[RawCase] = []
        classes: set[str] = set()
        tables = []
        for table in self._files(directory):
            content = self._format.read(table)
            if content is None:
                continue
            tables.append(table)
            classes |= set(content.classes)
            for said in content.images:
                try:
                    path = _image_file(said, by_file_name, directory)
                except InputError as error:
                    reason = f"entry of {table.name} is damaged: {error}"
                    rejected.append(Rejected(said.image or "?", reason))
                    continue
                cases.append(annotated_case(path, directory, said, options, {"split": table.stem}))
        if not tables:
            raise InputError(
                f"{directory} holds no {self._format.looks_like}, the layout of {self.name}"
            )
        return Listing(cases, rejected, box_classes=sorted(classes), tables=tables)

    def _files(self, directory: Path) -> list[Path]:
        patterns = ("*/" * level + f"*{self._format.suffix}" for level in range(3))
        return sorted(
            {path for each in patterns for path in directory.glob(each) if path.is_file()}
        )


def _image_file(
    said: AnnotatedImage, by_file_name: Mapping[str, Sequence[Path]], directory: Path
) -> Path:
    """The image file that is meant: its path ends in the name, and it lies below the source folder.

    Raises: InputError where there is none or more than one, or the entry cannot be used.
    """
    name = said.image
    if name:
        ends = [
            path
            for path in by_file_name.get(name.rsplit("/", 1)[-1], [])
            if f"/{path.relative_to(directory).as_posix()}".endswith(f"/{name}")
        ]
        if not ends:
            raise InputError(f"no image file {name}")
        if len(ends) > 1:
            raise InputError(f"{len(ends)} image files are called {name}")
    if said.problem or not name:
        raise InputError(said.problem or f"no image file {name}")
    return ends[0]
