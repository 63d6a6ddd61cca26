"""Pascal VOC: an XML file an image, with the box of every object."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meddistill.base.errors import FileError
from meddistill.base.files import write_text
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    polygon_box,
    turned_box,
)
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside
from meddistill.data.formats.annotation_writer import (
    file_name_of,
    in_images,
    size_of,
    stem_of,
)
from meddistill.data.formats.text_files import first_text
from meddistill.data.formats.xml_files import read_xml

_OURS = "MedDistill"
_FROM_ZERO = (_OURS, "Unknown", "Unspecified", "MyDatabase")
"""What tools that count from 0 call the database: we, labelImg and CVAT, makesense.ai, Label Studio."""


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
        """One image, called as `filename` says or as the file is; no object means that it was looked at and has no
        lesion.

        VOC counts pixels from 1 and means the last one, too: xmin - 1 to xmax is half-open. Label
        tools (`_FROM_ZERO`), and any file with a corner at 0 or a fraction, count from 0; `from_one`
        says what was done, for files of the same folder that show nothing. An object of LabelMe's (and
        of CVAT's export to it) has a polygon in place of a box, and counts from 0.
        """
        root = read_xml(path)
        try:
            from_one = _counts_from_one(root)
            objects = tuple(
                _object(element, int(from_one))
                for element in root.iter("object")
                if (element.findtext("deleted") or "").strip() != "1"
            )
            size_hw = _size(root)
        except (ValueError, OverflowError) as error:
            raise FileError(path, f"is not a readable annotation: {error}") from error
        turned = sum(each.find("robndbox") is not None for each in root.iter("object"))
        notes = {"turned boxes are taken by the box around them": turned}
        classes = sorted({each.class_name for each in objects})
        plain = any(each.find("bndbox") is not None for each in root.iter("object"))
        name = (root.findtext("filename") or "").strip()
        image = AnnotatedImage(name, objects, True, size_hw, from_one=from_one if plain else None)
        return AnnotationFile((image,), tuple(classes), notes)


def _counts_from_one(root: Any) -> bool:
    """Raises: ValueError for a corner that is no number."""
    if (root.findtext("source/database") or "").strip() in _FROM_ZERO:
        return False
    corners = [
        float(element.findtext(f"bndbox/{name}", ""))
        for element in root.iter("object")
        if element.find("bndbox") is not None
        for name in ("xmin", "ymin")
    ]
    return all(corner >= 1 and corner == int(corner) for corner in corners if math.isfinite(corner))


def _size(root: Any) -> tuple[int, int] | None:
    """Height and width as stated; None where there are none, or no more than a 0. Raises: ValueError."""
    found = root.findtext("size/height") or "0", root.findtext("size/width") or "0"
    height, width = (int(float(text)) for text in found)
    return (height, width) if height and width else None


def _object(element: Any, first: int) -> AnnotatedObject:
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
    points = tuple(
        float(point.findtext(axis, "")) for point in element.iterfind("polygon/pt") for axis in "xy"
    )
    if element.find("bndbox") is None and len(points) >= 6:
        is_box = (element.findtext("type") or "").strip() == "bounding_box"
        return AnnotatedObject(class_name, polygon_box(points), () if is_box else (points,))
    if element.find("bndbox") is None:
        raise ValueError(f"its object '{class_name}' has no box")
    x1, y1, x2, y2 = (
        float(element.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")
    )
    return AnnotatedObject(class_name, (x1 - first, y1 - first, x2, y2))


class VocWriter:
    source = "voc"
    holds_masks = False
    holds_predictions = False
    next_step = "open images/ in your tool, with Annotations/ as the folder of annotations"
    place = staticmethod(in_images)

    def write(self, out: Path, images: Sequence[AnnotatedImage], classes: Sequence[str]) -> None:
        """Annotations/ID.xml; one without an object where nothing is there, none for an unknown
        image. Corners count from 0, as the tools do that open such files."""
        for image in images:
            if image.looked_at:
                root = _element(image)
                ElementTree.indent(root)
                text = ElementTree.tostring(root, encoding="unicode")
                write_text(out / "Annotations" / f"{stem_of(image)}.xml", text + "\n")


def _element(image: AnnotatedImage) -> ElementTree.Element:
    height, width = size_of(image)
    root = ElementTree.Element("annotation")
    _add(root, folder="images", filename=file_name_of(image))
    _add(ElementTree.SubElement(root, "source"), database=_OURS)
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    for each in image.objects:
        element = ElementTree.SubElement(root, "object")
        _add(element, name=each.class_name, pose="Unspecified", truncated=0, difficult=0)
        x1, y1, x2, y2 = each.box_xyxy_px
        box = {"xmin": x1, "ymin": y1, "xmax": x2, "ymax": y2}
        _add(
            ElementTree.SubElement(element, "bndbox"),
            **{name: f"{value:.4f}".rstrip("0").rstrip(".") for name, value in box.items()},
        )
    return root


def _add(element: ElementTree.Element, **values: object) -> None:
    for name, value in values.items():
        ElementTree.SubElement(element, name).text = str(value)
