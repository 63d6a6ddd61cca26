"""Images and a table of boxes: boxes.csv, or any CSV, TSV or XLSX with the columns of an image and
of a box."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.formats.box_table import BoxTable
from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotation_tables import AnnotationTables
from meddistill.data.sources.folder import split_columns
from meddistill.data.sources.naming import name_files
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import image_files
from meddistill.run.layout import BOXES_CSV


class BoxesCsv(AnnotationTables):
    def __init__(self) -> None:
        super().__init__(BoxTable())
        self.summary = (
            "images and boxes.csv with image,x1,y1,x2,y2[,class][,group], or any table like it"
        )

    def recognise(self, directory: Path) -> str | None:
        if (directory / BOXES_CSV).is_file():
            return f"it has {BOXES_CSV}"
        return super().recognise(directory)

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        if not options.boxes_given:
            return super().list_cases(directory, options)
        images, rejected = image_files(directory, directory)  # --boxes goes over any layout
        splits = split_columns(name_files(images, directory, ()))
        cases = [
            RawCase(
                path.stem,
                shown(path, directory),
                ImageFile(path),
                columns={"split": split} if (split := splits[path]) else {},
            )
            for path in images
        ]
        return Listing(cases, rejected)

    def tables(self, directory: Path) -> list[Path]:
        """boxes.csv alone where it is there, else every table of boxes."""
        path = directory / BOXES_CSV
        return [path] if path.is_file() else super().tables(directory)
