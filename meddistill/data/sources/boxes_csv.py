"""Images and a table of boxes, no masks at all: boxes.csv with
`image,x1,y1,x2,y2[,class][,group]`.
"""

from __future__ import annotations

from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.box_table import BoxTable
from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.drawn_boxes import apply_boxes, without_image
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files
from meddistill.run.layout import BOXES_CSV


class BoxesCsv:
    name = "boxes-csv"
    summary = "images and boxes.csv with image,x1,y1,x2,y2[,class][,group]; no masks"
    general = False

    def recognise(self, directory: Path) -> str | None:
        table = any_file(directory, BOXES_CSV, depth=1)
        return f"it has {BOXES_CSV}" if table else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        images, rejected = image_files(directory, directory)
        cases = [RawCase(path.stem, shown(path, directory), ImageFile(path)) for path in images]
        if options.boxes_given:  # by --boxes, for any layout
            return Listing(cases, rejected)
        path = directory / BOXES_CSV
        if not path.is_file():
            raise InputError(
                f"{directory} has no {BOXES_CSV}, the layout of {self.name}; or name a table with "
                "--boxes"
            )
        table = BoxTable().read(path)
        cases, strangers = apply_boxes(cases, table.images, options)
        rejected += without_image(BOXES_CSV, strangers)
        return Listing(cases, rejected, (), table.classes, [path])
