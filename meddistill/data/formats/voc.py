"""Pascal VOC: an XML file an image, with the box of every object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meddistill.base.errors import InputError
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    polygon_box,
    turned_box,
)
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside
from meddistill.data.formats.text_files import first_text
from meddistill.data.formats.xml_files import read_xml


class VocXml:
    name = "voc"
    summary = "an XML an image, with the boxes of its objects (Pascal VOC)"
    looks_like = "XML with <annotation>"
    suffixes: tuple[str, ...] = (".xml",)
    per_image = True
    no_annotation = "a file without an object: looked at, nothing there; no file: unknown"

    def recognise(self, path: Path) -> str | None:
        head = first_text(path)
        return (
            "has VOC's <annotation>" if "<annotation>" in head or "<annotation " in head else None
        )

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile:
        """One image, which has the file's stem; no object means that it was looked at and has no
        lesion.

        VOC counts pixels from 1 and means the last one, too: xmin - 1 to xmax is half-open.
        """
        root = read_xml(path)
        try:
            objects = tuple(_object(element) for element in root.iter("object"))
        except ValueError as error:
            raise InputError(f"{path.name} is not a readable annotation: {error}") from error
        turned = sum(each.find("robndbox") is not None for each in root.iter("object"))
        notes = {"turned boxes are taken by the box around them": turned}
        classes = sorted({each.class_name for each in objects})
        image = AnnotatedImage(objects=objects)
        return AnnotationFile((image,), tuple(classes), notes)


def _object(element: Any) -> AnnotatedObject:
    class_name = (element.findtext("name") or "").strip()
    turned = element.find("robndbox")
    if turned is not None:  # roLabelImg: centre, size and an angle in radians
        cx, cy, w, h, angle = (
            float(turned.findtext(name, "")) for name in ("cx", "cy", "w", "h", "angle")
        )
        box = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        return AnnotatedObject(
            class_name, polygon_box(turned_box(box, angle * 57.29577951308232, (cx, cy)))
        )
    x1, y1, x2, y2 = (
        float(element.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")
    )
    return AnnotatedObject(class_name, (x1 - 1, y1 - 1, x2, y2))
