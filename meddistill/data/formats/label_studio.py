"""Label Studio's exports: JSON (tasks with annotations) and JSON-MIN (a record an annotation)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from meddistill.base.errors import FileError, InputError
from meddistill.base.files import write_json, write_text
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
    ellipse_points,
    polygon_box,
    turned_box,
)
from meddistill.data.formats.annotation_format import (
    DAMAGED,
    NOTHING_BESIDE,
    KnownBeside,
    why_damaged,
)
from meddistill.data.formats.annotation_writer import in_images, size_of
from meddistill.data.formats.label_studio_brush import decode_bitmask, decode_brush
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.formats.shapes import run_lengths_of
from meddistill.data.formats.tables import header_of, read_table_rows
from meddistill.data.formats.text_files import first_text, read_json

_LABELS = (
    *("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "bitmasklabels"),
    *("keypointlabels", "vectorlabels", "labels"),
)
_PLACES = ("x", "points", "rle", "imageDataURL", "vertices")
"""What the value of a region has that lies somewhere in the image; others speak of the whole of it."""


class LabelStudioJson:
    name = "labelstudio"
    summary = "Label Studio's JSON, JSON-MIN or CSV"
    looks_like = "JSON or CSV with Label Studio's tasks"
    suffixes: tuple[str, ...] = (".json", ".csv", ".tsv")
    per_image = False
    no_annotation = (
        "a submitted annotation without a region: looked at, nothing there; skipped, predicted or "
        "drafted only, or no annotation: unknown"
    )

    def recognise(self, path: Path) -> str | None:
        if path.suffix.lower() != ".json":
            columns = header_of(path)
            return "has Label Studio's columns" if "annotation_id" in columns else None
        head = first_text(path)
        is_list = head.lstrip().startswith("[")
        is_task = any(f'"{key}"' in head for key in ("data", "result", "completed_by"))
        if is_list and ('"annotations"' in head or '"completions"' in head) and is_task:
            return "has Label Studio's tasks"
        if is_list and '"annotation_id"' in head:
            return "has Label Studio's records (JSON-MIN)"
        return None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """An entry for every annotation of a task; predictions, drafts and what was skipped are
        none."""
        content = _table(path) if path.suffix.lower() != ".json" else read_json(path)
        if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
            return None
        said: Counter[str] = Counter()
        images: list[AnnotatedImage] = []
        for task in content:
            if "annotations" in task or "completions" in task:
                images += _of_task(task, said)
            else:
                images.append(_of_record(task, said))
        return AnnotationFile(tuple(images), classes_of(images), said)


def _table(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV or TSV as records of JSON-MIN: a cell that begins like a list is one."""
    header, rows = read_table_rows(path)
    found = []
    for number, row in rows:
        record: dict[str, Any] = {}
        for name, text in zip(header, row, strict=True):
            try:
                record[name] = json.loads(text) if text.startswith("[") else text
            except (ValueError, RecursionError):
                raise FileError(
                    path, f"line {number}: expected JSON in a cell, got {text[:40]!r}"
                ) from None
        found.append(record)
    return found


def _of_task(task: Mapping[str, Any], said: Counter[str]) -> list[AnnotatedImage]:
    data = task.get("data")
    name = _image_name(data if isinstance(data, dict) else {}, task)
    annotations = task.get("annotations", task.get("completions")) or []
    found = []
    skipped = 0
    for annotation in annotations if isinstance(annotations, list) else []:
        if not isinstance(annotation, dict):
            continue
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            skipped += 1
            continue
        who = _annotator(annotation.get("completed_by"))
        found.append(_image(name, annotation.get("result"), who, said))
    if not found and skipped:
        said["tasks that were skipped, left unknown"] += 1
    elif not found and (task.get("predictions") or task.get("drafts")):
        said["tasks with predictions or drafts alone, left unknown"] += 1
    return found or [AnnotatedImage(name, looked_at=False)]


def _of_record(record: Mapping[str, Any], said: Counter[str]) -> AnnotatedImage:
    """Of JSON-MIN: every list of regions, whatever the labelling interface calls it."""
    regions = [
        {
            "value": each,
            "original_width": each.get("original_width"),
            "original_height": each.get("original_height"),
        }
        for value in record.values()
        if isinstance(value, list)
        for each in value
        if isinstance(each, dict) and any(key in each for key in _PLACES)
    ]
    who = _annotator(record.get("annotator"))
    return _image(_image_name(record, record), regions, who, said)


def _annotator(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return "" if value is None else str(value)


def _image_name(data: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """What the task's data call the image: the value that ends like a picture, else the uploaded
    file."""
    texts = [value for value in data.values() if isinstance(value, str)]
    for text in texts:
        if text.split("?")[0].lower().endswith(IMAGE_SUFFIXES) or text.lower().endswith(
            IMAGE_SUFFIXES
        ):
            return text
    return str(task.get("file_upload") or data.get("image") or (texts[0] if texts else ""))


def _image(name: str, result: Any, who: str, said: Counter[str]) -> AnnotatedImage:
    regions = [each for each in result or [] if isinstance(each, dict)]
    without_area: Counter[str] = Counter()
    try:
        objects, size_hw = _objects(regions, said, without_area)
    except DAMAGED as error:
        reason = why_damaged(error, "a region")
        return AnnotatedImage(name, problem=reason)
    for kind, count in without_area.items():
        said[f"shapes without an area are left out ({kind})"] += count
    # A person who marked points alone has looked at something else.
    looked_at = bool(objects) or not without_area
    return AnnotatedImage(name, objects, looked_at, size_hw, empty_mask=looked_at, annotator=who)


def _objects(
    regions: Sequence[Mapping[str, Any]], said: Counter[str], without_area: Counter[str]
) -> tuple[tuple[AnnotatedObject, ...], tuple[int, int] | None]:
    # A region and its labels may be two records of one id.
    labels = {each.get("id"): _label(each) for each in regions if _label(each)}
    objects: dict[Any, AnnotatedObject] = {}
    size_hw = None
    for number, region in enumerate(regions):
        width, height = region.get("original_width"), region.get("original_height")
        found = None
        if width and height:
            size_hw = int(height), int(width)
            label = _label(region) or labels.get(region.get("id"), "")
            value = region["value"]
            found = _object(value, label, size_hw, said)
            if found is None and any(key in value for key in _PLACES):
                without_area[str(region.get("type") or label or "unknown")] += 1
        if found is not None:
            objects.setdefault(region.get("id", number), found)
    return tuple(objects.values()), size_hw


def _label(region: Mapping[str, Any]) -> str:
    value = region.get("value")
    if not isinstance(value, dict):
        return ""
    return next((str(value[key][0]) for key in _LABELS if value.get(key)), "")


def _object(
    value: Mapping[str, Any], label: str, size_hw: tuple[int, int], said: Counter[str]
) -> AnnotatedObject | None:
    """The object of a region, in percent of the image's width and height; None for one without an
    area."""
    height, width = size_hw
    degrees = float(value.get("rotation") or 0)
    if "rle" in value:
        return _drawn(decode_brush(value["rle"], size_hw), label)
    if "imageDataURL" in value:
        return _drawn(decode_bitmask(value["imageDataURL"], size_hw), label)
    if "points" in value:
        points = tuple(_in_px(value["points"], size_hw))
        if len(points) < 6:
            raise InputError("a polygon has fewer than three points")
        return AnnotatedObject(label, polygon_box(points), (points,))
    if "x" not in value or not ("height" in value or "radiusX" in value):
        return None  # a key point has a width alone
    x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
    if "radiusX" in value:
        radii = float(value["radiusX"]) * width / 100, float(value["radiusY"]) * height / 100
        points = ellipse_points((x, y), radii, degrees)
        return AnnotatedObject(label, polygon_box(points), (points,))
    box = (
        x,
        y,
        x + float(value["width"]) * width / 100,
        y + float(value["height"]) * height / 100,
    )
    if not degrees:
        return AnnotatedObject(label, box)
    said["turned boxes are taken by the box around them"] += 1
    return AnnotatedObject(label, polygon_box(turned_box(box, degrees, (x, y))))  # its first corner


def _in_px(points: Iterable[Sequence[Any]], size_hw: tuple[int, int]) -> Iterable[float]:
    for x, y in points:
        yield float(x) * size_hw[1] / 100
        yield float(y) * size_hw[0] / 100


def _drawn(mask: np.ndarray, label: str) -> AnnotatedObject:
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise InputError("a brush stroke is empty")
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    x1, y1, x2, y2 = (float(number) for number in box)
    return AnnotatedObject(label, (x1, y1, x2, y2), run_lengths=run_lengths_of(mask))


class LabelStudioWriter:
    source = "labelstudio"
    holds_masks = True
    holds_predictions = True
    next_step = (
        "make a Label Studio project with the labelling interface of interface.txt, serve this "
        "folder as local files, and import tasks.json"
    )
    place = staticmethod(in_images)

    def write(self, out: Path, images: Sequence[AnnotatedImage], classes: Sequence[str]) -> None:
        """tasks.json and the labelling interface. Where nothing is there a task has an annotation
        without a region, an unknown image has no annotation. An object with a mask is its largest
        polygon."""
        tasks = []
        for number, image in enumerate(images, start=1):
            regions = [
                _written(each, size_of(image), f"{number}-{index}")
                for index, each in enumerate(image.objects, start=1)
            ]
            task: dict[str, Any] = {
                "id": number,
                "data": {"image": f"/data/local-files/?d={quote(image.image)}"},
                "annotations": [{"result": regions}] if image.looked_at else [],
                "predictions": [] if image.looked_at or not regions else [{"result": regions}],
            }
            tasks.append(task)
        write_json(out / "tasks.json", tasks)
        labels = "".join(f"<Label value={quoteattr(name)}/>" for name in classes)
        write_text(
            out / "interface.txt",
            '<View><Image name="image" value="$image"/>'
            f'<RectangleLabels name="label" toName="image">{labels}</RectangleLabels>'
            f'<PolygonLabels name="outline" toName="image">{labels}</PolygonLabels></View>\n',
        )


def _written(each: AnnotatedObject, size_hw: tuple[int, int], number: str) -> dict[str, Any]:
    height, width = size_hw
    facts = {"original_width": width, "original_height": height, "image_rotation": 0}
    if each.polygons_xy_px:
        points = max(each.polygons_xy_px, key=len)
        percent = [
            [x * 100 / width, y * 100 / height]
            for x, y in zip(points[::2], points[1::2], strict=True)
        ]
        value: dict[str, Any] = {"points": percent, "polygonlabels": [each.class_name]}
        kind, name = "polygonlabels", "outline"
    else:
        x1, y1, x2, y2 = each.box_xyxy_px
        value = {
            "x": x1 * 100 / width,
            "y": y1 * 100 / height,
            "width": (x2 - x1) * 100 / width,
            "height": (y2 - y1) * 100 / height,
            "rotation": 0,
            "rectanglelabels": [each.class_name],
        }
        kind, name = "rectanglelabels", "label"
    return {
        **facts,
        "id": number,
        "type": kind,
        "from_name": name,
        "to_name": "image",
        "value": value,
    }
