"""Pascal VOC: Annotations/ID.xml and JPEGImages/ID.jpg (or any folder of images with equal
stems).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.objects import Annotation, main_class, wanted
from meddistill.data.sources.pairing import by_name
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files, walk_files
from meddistill.run.tables import Rejected


class Voc:
    name = "voc"
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
        tables = [path for path in found if path.suffix.lower() == ".xml"]
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
                objects = _read_objects(table)
            except InputError as error:
                rejected.append(Rejected(shown(paths[0], directory), str(error)))
                continue
            classes |= {each.class_name for each in objects}
            kept = wanted(objects, options)
            boxes = tuple(each.box_xyxy_px for each in kept)
            cases.append(
                RawCase(
                    table.stem,
                    shown(paths[0], directory),
                    ImageFile(paths[0]),
                    None,
                    boxes,
                    main_class(kept),
                )
            )
        for paths in images_of.values():
            cases += [RawCase(path.stem, shown(path, directory), ImageFile(path)) for path in paths]
        return Listing(
            sorted(cases, key=lambda case: case.source), rejected, (), sorted(classes), tables
        )


def _read_objects(path: Path) -> list[Annotation]:
    """Objects of one file. VOC counts pixels from 1 and means the last one, too: xmin - 1 to xmax
    is half-open."""
    try:
        content = path.read_bytes()
        if (
            b"<!DOCTYPE" in content or b"<!ENTITY" in content
        ):  # entities can blow a small file up to gigabytes
            raise InputError(f"{path.name} declares a document type, which no annotation needs")
        root = ElementTree.fromstring(content)
        objects = []
        for element in root.iter("object"):
            corners = [
                float(element.findtext(f"bndbox/{name}", ""))
                for name in ("xmin", "ymin", "xmax", "ymax")
            ]
            box = corners[0] - 1, corners[1] - 1, corners[2], corners[3]
            objects.append(Annotation((element.findtext("name") or "").strip(), box))
    except (OSError, ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise InputError(f"{path.name} is not a readable annotation: {error}") from error
    return objects
