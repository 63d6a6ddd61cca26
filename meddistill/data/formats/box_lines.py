"""Lists of boxes as YOLOv3 and v4 in Keras, TensorFlow and PyTorch take them, Roboflow's
`_annotations.txt`: a line an image, its name and `x1,y1,x2,y2,class` for each box, in px."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
)
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside
from meddistill.data.formats.text_files import first_text, read_text

_NUMBER = r"-?\d{1,9}(?:\.\d+)?"
_BOX = re.compile(rf"{_NUMBER}(?:,{_NUMBER}){{3}},\d{{1,9}}")
"""Longer numbers are no pixels, and beyond some length no numbers to Python."""
_LINE = re.compile(rf"(?P<image>\S.*?)(?P<boxes>(?:\s+{_BOX.pattern})*)\s*")
_NAMES = ("_classes.txt", "classes.txt")


class BoxLines:
    name = "boxes-txt"
    summary = "a text file with lines `a.png x1,y1,x2,y2,class ...` (YOLOv3, YOLOv4, Roboflow)"
    looks_like = "text file with lines `a.png x1,y1,x2,y2,class`"
    suffixes: tuple[str, ...] = (".txt",)
    per_image = False
    no_annotation = "unknown: a file may list images whether or not anybody looked at them"

    def recognise(self, path: Path) -> str | None:
        lines = first_text(path).splitlines()
        found = [match["boxes"] for line in lines if (match := _LINE.fullmatch(line))]
        return "has lines of an image and its boxes" if any(found) else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile:
        """Every image that has a line; a box of a number without a name has the number for a class."""
        lines = [line for line in read_text(path).splitlines() if line.strip()]
        lists = [path.parent / name for name in _NAMES if (path.parent / name).is_file()][:1]
        names = [name.strip() for found in lists for name in read_text(found).splitlines()]
        images = tuple(_image(line, names) for line in lines)
        return AnnotationFile(images, classes_of(images), beside=tuple(lists))


def _image(line: str, names: Sequence[str]) -> AnnotatedImage:
    match = _LINE.fullmatch(line)
    if match is None:
        return AnnotatedImage(line.strip(), problem="its line is not understood")
    objects = tuple(_object(box, names) for box in match["boxes"].split())
    damaged = re.search(r"\s\S*,\S*$", match["image"])
    if damaged:  # what should be a box is left to the name
        name = match["image"].split()[0]
        return AnnotatedImage(name, problem=f"{damaged[0].strip()[:40]} is no x1,y1,x2,y2,class")
    return AnnotatedImage(match["image"], objects, looked_at=bool(objects))


def _object(box: str, names: Sequence[str]) -> AnnotatedObject:
    *corners, number = box.split(",")
    x1, y1, x2, y2 = map(float, corners)
    place = int(number)
    known = place < len(names) and names[place]
    return AnnotatedObject(known or number, (x1, y1, x2, y2))
