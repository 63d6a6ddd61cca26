"""Pascal VOC: Annotations/ID.xml and JPEGImages/ID.jpg (or any folder of images with equal
stems).
"""

from __future__ import annotations

from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.voc import VocXml
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotated_cases import annotated_case
from meddistill.data.sources.pairing import by_name
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files, walk_files
from meddistill.run.tables import Rejected

_FORMAT = VocXml()


class VocFolders:
    name = _FORMAT.name
    summary = "Annotations/ID.xml and JPEGImages/ID.jpg (Pascal VOC)"
    general = False

    def recognise(self, directory: Path) -> str | None:
        folder = any_file(directory, "Annotations", "annotations")
        table = (
            next(iter(sorted(folder.glob("*.xml"))), None) if folder and folder.is_dir() else None
        )
        return f"it has {shown(table, directory)}" if table else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        found, rejected = walk_files(directory, directory)
        tables = [path for path in found if path.suffix.lower() == _FORMAT.suffix]
        if not tables:
            raise InputError(f"{directory} holds no Annotations/*.xml, the layout of {self.name}")
        images, _ = image_files(directory, directory)
        # Other folders of the set hold segmentations with the same stems.
        images = [path for path in images if not path.parent.name.startswith("Segmentation")]
        images_of = by_name(images, lambda path: path.stem)
        cases: list[RawCase] = []
        classes: set[str] = set()
        for table in tables:
            paths = images_of.pop(table.stem, [])
            if len(paths) != 1:
                reason = (
                    f"{len(paths)} images share its stem"
                    if paths
                    else "annotation without an image"
                )
                rejected.append(Rejected(shown(table, directory), reason))
                continue
            try:
                content = _FORMAT.read(table)
            except InputError as error:
                rejected.append(Rejected(shown(paths[0], directory), str(error)))
                continue
            classes |= set(content.classes)
            cases.append(annotated_case(paths[0], directory, content.images[0], options))
        for paths in images_of.values():
            cases += [annotated_case(path, directory, None, options) for path in paths]
        return Listing(
            sorted(cases, key=lambda case: case.source), rejected, (), sorted(classes), tables
        )
