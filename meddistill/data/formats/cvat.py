"""CVAT's XML 1.1: an <image> a picture ("for images"), or a <track> an object through the frames of
a video."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError, InputError
from meddistill.base.files import write_text
from meddistill.data.annotations import (
    NOTHING_THERE,
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
    ellipse_points,
    is_nothing_there,
    polygon_box,
    turned_box,
)
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside
from meddistill.data.formats.annotation_writer import file_name_of, in_images, size_of
from meddistill.data.formats.shapes import check_pixels, run_lengths_of
from meddistill.data.formats.text_files import first_text
from meddistill.data.formats.xml_files import read_xml

_NO_AREA = ("polyline", "points", "cuboid", "skeleton")


class CvatXml:
    name = "cvat"
    summary = "CVAT's XML 1.1, for images and for video"
    looks_like = "XML with <annotations>"
    suffixes: tuple[str, ...] = (".xml",)
    per_image = False
    no_annotation = (
        'unknown: CVAT lists all images of a task; a tag "nothing there" (or "normal") says that '
        "somebody looked"
    )

    def recognise(self, path: Path) -> str | None:
        return "has CVAT's <annotations>" if "<annotations>" in first_text(path) else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """Every <image>, and every frame that a <track> shows; of turned boxes and ellipses the box
        around them. Images of a rejected job count as not looked at."""
        root = read_xml(path)
        if root.tag != "annotations":
            return None
        said: Counter[str] = Counter()
        rejected = _rejected_frames(root)
        images = [_image(element, rejected, said) for element in root.iter("image")]
        try:
            images += _frames(root, said)
        except (InputError, ValueError) as error:
            raise FileError(path, f"has a track that is damaged: {error}") from error
        return AnnotationFile(tuple(images), classes_of(images), said)


def _image(element: Any, rejected: Iterable[range], said: Counter[str]) -> AnnotatedImage:
    name, subset = element.get("name", ""), element.get("subset", "")
    if subset and not name.startswith(f"{subset}/"):  # of a project it is a folder of images/, too
        name = f"{subset}/{name}"
    frame = int(element.get("id", "-1")) if element.get("id", "").isdigit() else -1
    if any(frame in frames for frames in rejected):
        said["images of rejected jobs are left unknown"] += 1
        return AnnotatedImage(name, looked_at=False)
    try:
        size_hw = int(element.get("height", 0)), int(element.get("width", 0))
        objects = tuple(_objects(element, size_hw, said))
    except (InputError, ValueError, OverflowError) as error:
        return AnnotatedImage(name, problem=str(error))
    tags = [tag.get("label", "") for tag in element.iter("tag")]
    looked_at = bool(objects) or any(is_nothing_there(tag) for tag in tags)
    return AnnotatedImage(
        name,
        objects,
        looked_at,
        size_hw if all(size_hw) else None,
        columns={"split": subset} if subset and subset.lower() != "default" else {},
    )


def _objects(
    element: Iterable[Any], size_hw: tuple[int, int], said: Counter[str], label: str = ""
) -> Iterable[AnnotatedObject]:
    """The objects of an image or a track; `label`: of all shapes that have none of their own."""
    for shape in element:
        if shape.tag in _NO_AREA:
            said[f"shapes without an area are left out ({shape.tag})"] += 1
        elif shape.tag in ("box", "polygon", "ellipse", "mask"):
            yield _object(shape, shape.get("label", label), size_hw, said)


def _object(
    shape: Any, label: str, size_hw: tuple[int, int], said: Counter[str]
) -> AnnotatedObject:
    if shape.tag == "polygon":
        points = tuple(
            float(value) for pair in shape.get("points", "").split(";") for value in pair.split(",")
        )
        if len(points) < 6 or len(points) % 2:
            raise InputError("a polygon has fewer than three points")
        return AnnotatedObject(label, polygon_box(points), (points,))
    if shape.tag == "mask":
        return _mask(shape, label, size_hw)
    degrees = float(shape.get("rotation", 0))
    if degrees and shape.tag == "box":
        said["turned boxes are taken by the box around them"] += 1
    if shape.tag == "ellipse":
        centre = float(shape.get("cx", "")), float(shape.get("cy", ""))
        points = ellipse_points(
            centre, (float(shape.get("rx", "")), float(shape.get("ry", ""))), degrees
        )
        return AnnotatedObject(label, polygon_box(points), (points,))
    x1, y1, x2, y2 = (float(shape.get(name, "")) for name in ("xtl", "ytl", "xbr", "ybr"))
    if not degrees:
        return AnnotatedObject(label, (x1, y1, x2, y2))
    points = turned_box((x1, y1, x2, y2), degrees, ((x1 + x2) / 2, (y1 + y2) / 2))
    return AnnotatedObject(label, polygon_box(points))


def _mask(shape: Any, label: str, size_hw: tuple[int, int]) -> AnnotatedObject:
    """Run lengths row by row inside the mask's own box, first of 0s."""
    left, top, width, height = (
        int(float(shape.get(name, ""))) for name in ("left", "top", "width", "height")
    )
    counts = [int(count) for count in shape.get("rle", "").split(",")]
    inside = left >= 0 and top >= 0 and left + width <= size_hw[1] and top + height <= size_hw[0]
    if not inside or sum(counts) != width * height or min(counts) < 0:
        raise InputError(f"a mask's run lengths do not fill its box of {width}x{height}")
    check_pixels(size_hw)
    mask = np.zeros(size_hw, dtype=bool)
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    mask[top : top + height, left : left + width] = flat.reshape(height, width)
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise InputError("a mask is empty")
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    x1, y1, x2, y2 = (float(value) for value in box)
    return AnnotatedObject(label, (x1, y1, x2, y2), run_lengths=run_lengths_of(mask))


def _frames(root: Any, said: Counter[str]) -> list[AnnotatedImage]:
    """Frames of a video that show an object, called as CVAT calls them: frame_000012."""
    told = [root.findtext(f"meta//original_size/{side}") or "0" for side in ("height", "width")]
    size_hw = int(told[0]), int(told[1])
    objects: dict[int, list[AnnotatedObject]] = {}
    for track in root.iter("track"):
        for shape in track:
            if shape.get("outside") == "1":
                continue
            for found in _objects([shape], size_hw, said, track.get("label", "")):
                objects.setdefault(int(shape.get("frame", "0")), []).append(found)
    return [
        AnnotatedImage(
            f"frame_{number:06d}", tuple(found), size_hw=size_hw if all(size_hw) else None
        )
        for number, found in sorted(objects.items())
    ]


def _rejected_frames(root: Any) -> list[range]:
    """The frames of jobs that a reviewer rejected, where the file tells."""
    found = []
    for job in [*root.iterfind("meta//job"), *root.iterfind("meta//segment")]:
        said = {name.tag: (name.text or "").strip().lower() for name in job}
        start = said.get("start", said.get("start_frame", ""))
        stop = said.get("stop", said.get("stop_frame", ""))
        is_rejected = "rejected" in (said.get("state"), said.get("status"))
        if is_rejected and start.isdigit() and stop.isdigit():
            found.append(range(int(start), int(stop) + 1))
    return found


class CvatWriter:
    source = "cvat"
    holds_masks = True
    holds_predictions = False
    next_step = (
        "make a CVAT task of images/ with the labels of annotations.xml, and upload that as "
        "CVAT 1.1"
    )
    place = staticmethod(in_images)

    def write(self, out: Path, images: Sequence[AnnotatedImage], classes: Sequence[str]) -> None:
        """annotations.xml, for images; where nothing is there the image has a tag that says so. An
        object with a mask is its largest polygon."""
        root = ElementTree.Element("annotations")
        ElementTree.SubElement(root, "version").text = "1.1"
        labels = ElementTree.SubElement(
            ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels"
        )
        for name in (*classes, NOTHING_THERE):
            label = ElementTree.SubElement(labels, "label")
            ElementTree.SubElement(label, "name").text = name
        for number, image in enumerate(images):
            height, width = size_of(image)
            element = ElementTree.SubElement(
                root,
                "image",
                {"id": str(number), "name": file_name_of(image)}
                | {"width": str(width), "height": str(height)},
            )
            for each in image.objects if image.looked_at else ():
                element.append(_shape(each))
            if image.looked_at and not image.objects:
                ElementTree.SubElement(element, "tag", label=NOTHING_THERE, source="manual")
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode")
        write_text(out / "annotations.xml", f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def _shape(each: AnnotatedObject) -> ElementTree.Element:
    facts = {"label": each.class_name, "source": "manual", "occluded": "0", "z_order": "0"}
    if each.polygons_xy_px:
        points = max(each.polygons_xy_px, key=len)
        pairs = zip(points[::2], points[1::2], strict=True)
        text = ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs)
        return ElementTree.Element("polygon", {**facts, "points": text})
    names = zip(("xtl", "ytl", "xbr", "ybr"), each.box_xyxy_px, strict=True)
    return ElementTree.Element("box", {**facts, **{name: f"{value:.2f}" for name, value in names}})
