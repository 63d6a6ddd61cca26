"""Pascal VOC: an XML file an image, with the box of every object."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.data.annotations import AnnotatedImage, AnnotatedObject, AnnotationFile
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside, first_bytes


class VocXml:
    name = "voc"
    summary = "an XML an image, with the boxes of its objects (Pascal VOC)"
    looks_like = "XML with <annotation>"
    suffix = ".xml"

    def recognise(self, path: Path) -> str | None:
        return "has VOC's <annotation>" if b"<annotation>" in first_bytes(path) else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile:
        """One image, which has the file's stem; no object means that it was looked at and has no
        lesion.

        VOC counts pixels from 1 and means the last one, too: xmin - 1 to xmax is half-open.
        """
        try:
            content = path.read_bytes()
            # Entities can blow a small file up to gigabytes.
            if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
                raise InputError(f"{path.name} declares a document type, which no annotation needs")
            root = ElementTree.fromstring(content)
            objects = tuple(_object(element) for element in root.iter("object"))
        except (OSError, ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
            raise InputError(f"{path.name} is not a readable annotation: {error}") from error
        classes = sorted({each.class_name for each in objects})
        return AnnotationFile((AnnotatedImage(objects=objects),), tuple(classes))


def _object(element: ElementTree.Element) -> AnnotatedObject:
    x1, y1, x2, y2 = (
        float(element.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")
    )
    return AnnotatedObject((element.findtext("name") or "").strip(), (x1 - 1, y1 - 1, x2, y2))
