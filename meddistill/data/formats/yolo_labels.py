"""YOLO labels: a text file an image, a line an object, `class cx cy w h` or `class x y x y ...`, all
but the class as shares of the image's width and height."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from meddistill.base.errors import FileError, in_one_line
from meddistill.base.files import write_text
from meddistill.base.paths import printable
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    polygon_box,
)
from meddistill.data.formats.annotation_format import NOTHING_BESIDE, KnownBeside
from meddistill.data.formats.annotation_writer import size_of
from meddistill.data.formats.text_files import first_text, read_text
from meddistill.data.formats.yaml_files import read_yaml


class YoloLabel:
    name = "yolo"
    summary = "a text file an image, lines `class cx cy w h` (or polygons)"
    looks_like = "text file with lines `class cx cy w h`"
    suffixes: tuple[str, ...] = (".txt",)
    per_image = True
    no_annotation = "an empty file: looked at, nothing there; no file: unknown"

    def recognise(self, path: Path) -> str | None:
        words = first_text(path).strip().partition("\n")[0].split()
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            return None
        return "has lines of YOLO's numbers" if len(numbers) >= 5 and len(numbers) % 2 else None

    def in_shares(self, path: Path) -> bool:
        """Whether the first line is a whole number and shares: other tools write numbers, too."""
        if self.recognise(path) is None:
            return False
        words = first_text(path).strip().partition("\n")[0].split()
        return words[0].isdigit() and all(-0.1 <= float(word) <= 1.1 for word in words[1:])

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile:
        """One image, which has the file's stem: an empty file means no lesion. Its size must be
        known beside."""
        if beside.size_hw is None:
            raise ValueError("a YOLO label is in shares of its image, whose size must be given")
        lines = read_text(path).lstrip("\ufeff").splitlines()
        objects = tuple(
            _object(line, path, number, beside)
            for number, line in enumerate(lines, start=1)
            if line.strip()
        )
        classes = sorted({each.class_name for each in objects})
        image = AnnotatedImage(objects=objects, size_hw=beside.size_hw)
        return AnnotationFile((image,), tuple(classes))


def _object(line: str, path: Path, number: int, beside: KnownBeside) -> AnnotatedObject:
    assert beside.size_hw is not None
    height, width = beside.size_hw
    try:
        code, *values = (float(part) for part in line.split())
    except ValueError:
        raise FileError(path, f"line {number} is not numbers: {line[:40]!r}", "label ") from None
    if not all(math.isfinite(value) for value in (code, *values)):
        raise FileError(path, f"line {number} has a value that is not finite", "label ")
    if not code.is_integer():
        raise FileError(path, f"line {number} begins with {code:g}, no class number", "label ")
    class_name = beside.class_names.get(int(code), str(int(code)))
    if beside.key_point_numbers and len(values) == 4 + beside.key_point_numbers:
        values = values[:4]
    if len(values) == 4:
        return AnnotatedObject(class_name, _in_px(values, height, width))
    if len(values) >= 6 and len(values) % 2 == 0:
        points = tuple(value * (width, height)[index % 2] for index, value in enumerate(values))
        return AnnotatedObject(class_name, polygon_box(points), (points,))
    hint = ": a sixth is the confidence of a detector, whose boxes nobody drew"
    raise FileError(
        path,
        f"line {number} has {len(values) + 1} numbers, expected 5 or a polygon"
        + hint * (len(values) == 5),
        "label ",
    )


def _in_px(values: list[float], height: int, width: int) -> tuple[float, float, float, float]:
    cx, cy, w, h = values
    return (
        (cx - w / 2) * width,
        (cy - h / 2) * height,
        (cx + w / 2) * width,
        (cy + h / 2) * height,
    )


def read_class_names(path: Path) -> dict[int, str]:
    """Class names by number, of `names:` in a data.yaml, as a list or as numbers with names; {}
    where the file has none. Raises: InputError."""
    try:
        names = read_yaml(path).get("names", {})
        numbered = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): printable(str(name)) for number, name in numbered}
    except (TypeError, ValueError) as error:  # something else entirely under `names`
        raise FileError(path, f"cannot be read: {in_one_line(error)}") from error


def read_key_point_numbers(path: Path) -> int:
    """How many numbers follow those of a box, by `kpt_shape:` in a data.yaml: points times the numbers
    of each; 0 where the set has no key points. Raises: InputError."""
    try:
        count, each = read_yaml(path).get("kpt_shape") or (0, 0)
        return int(count) * int(each)
    except (TypeError, ValueError) as error:
        raise FileError(
            path, f"expected kpt_shape as [points, numbers]: {in_one_line(error)}"
        ) from error


def write_yolo_label(
    path: Path,
    boxes_xyxy_px: np.ndarray,
    size_hw: tuple[int, int],
    numbers: Sequence[int] | None = None,
) -> None:
    """Write boxes (N, 4) in px as YOLO lines `class cx cy w h`, normalised. No box gives an empty
    file.

    Args:
        path: the file.
        boxes_xyxy_px: the boxes.
        size_hw: of their image.
        numbers: the class of each; None: all 0.
    """
    boxes = np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 4)
    lines = [
        yolo_line(number, (x1, y1, x2, y2), size_hw)
        for (x1, y1, x2, y2), number in zip(boxes, numbers or [0] * len(boxes), strict=True)
    ]
    write_text(path, "".join(lines))


def read_yolo_label(path: Path, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) float32 in px, half-open, and the class of each, (N,) int64; none for an empty
    file. Coordinates are rounded to 1/100 px.

    Raises: InputError for a missing file or a line that is not five numbers.
    """
    height, width = size_hw
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, f"cannot be read as a YOLO label: {error}") from error
    boxes, classes = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            which, *values = (float(part) for part in line.split())
            if len(values) != 4 or not which.is_integer():
                raise ValueError
        except ValueError:
            raise FileError(
                path, f"line {number}: expected `class cx cy w h`, got {line[:60]!r}"
            ) from None
        if not np.isfinite(values).all():
            raise FileError(path, f"line {number}: a coordinate is not finite")
        boxes.append(_in_px(values, height, width))
        classes.append(int(which))
    found = np.round(np.array(boxes, dtype=np.float64).reshape(-1, 4), 2).astype(np.float32)
    return found, np.array(classes, dtype=np.int64)


class YoloWriter:
    source = "yolo"
    holds_masks = True
    holds_predictions = False
    next_step = "open the folder, its images/, labels/ and data.yaml, in your tool"

    def place(self, file_name: str, split: str) -> str:
        return f"images/{split}/{file_name}"

    def write(self, out: Path, images: Sequence[AnnotatedImage], classes: Sequence[str]) -> None:
        """labels/SPLIT/ID.txt and data.yaml; an image where nothing is there has an empty file, an
        unknown one has none. An object with a mask is its largest polygon."""
        numbers = {name: number for number, name in enumerate(classes)}
        for image in images:
            if not image.looked_at:
                continue
            lines = [
                _line(each, numbers[each.class_name], size_of(image)) for each in image.objects
            ]
            label = PurePosixPath("labels", *PurePosixPath(image.image).parts[1:])
            write_text(out / label.with_name(f"{label.stem}.txt"), "".join(lines))
        splits = sorted({PurePosixPath(image.image).parts[1] for image in images})
        names = [f"  {number}: {json.dumps(name)}" for name, number in numbers.items()]
        lines = [*(f"{split}: images/{split}" for split in splits), "names:", *names]
        write_text(out / "data.yaml", "\n".join(lines) + "\n")


def _line(each: AnnotatedObject, number: int, size_hw: tuple[int, int]) -> str:
    height, width = size_hw
    if each.polygons_xy_px:
        points = max(each.polygons_xy_px, key=len)
        shares = [value / (width, height)[index % 2] for index, value in enumerate(points)]
        return f"{number} {' '.join(f'{share:.8f}' for share in shares)}\n"
    return yolo_line(number, each.box_xyxy_px, size_hw)


def yolo_line(
    number: int, box_xyxy_px: tuple[float, float, float, float], size_hw: tuple[int, int]
) -> str:
    """A box in px as a line `class cx cy w h`, in shares of the image."""
    height, width = size_hw
    x1, y1, x2, y2 = box_xyxy_px
    cx, cy = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
    w, h = (x2 - x1) / width, (y2 - y1) / height
    return f"{number} {cx:.8f} {cy:.8f} {w:.8f} {h:.8f}\n"
