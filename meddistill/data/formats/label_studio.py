"""Label Studio's exports: JSON (tasks with annotations) and JSON-MIN (a record an annotation)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from meddistill.base.errors import FileError
from meddistill.base.files import write_json, write_text
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    classes_of,
)
from meddistill.data.formats.annotation_format import (
    DAMAGED,
    NOTHING_BESIDE,
    KnownBeside,
    why_damaged,
)
from meddistill.data.formats.annotation_writer import in_images, size_of
from meddistill.data.formats.label_studio_regions import (
    PLACES,
    SizeOf,
    lies_somewhere,
    objects_of,
)
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.formats.tables import header_of, read_table_rows
from meddistill.data.formats.text_files import WHOLE, first_text, read_json

_NO_LIST = "its result is no list of regions"


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
        if is_list and any(f'"{place}"' in head for place in PLACES[1:]):
            head = first_text(path, WHOLE)  # a long outline may come first
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
        size_of = beside.size_of or (lambda name: beside.size_hw)
        drawn_on = {
            str(region.get("to_name"))
            for task in content
            for annotation in _annotations(task)
            for region in _regions(annotation.get("result"))
            if isinstance(region.get("value"), dict) and lies_somewhere(region)
        }
        images: list[AnnotatedImage] = []
        for task in content:
            if "annotations" in task or "completions" in task:
                images += _of_task(task, drawn_on, said, size_of)
            else:
                images += _of_record(task, said, size_of)
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


def _annotations(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = task.get("annotations", task.get("completions")) or []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _regions(result: Any) -> list[dict[str, Any]]:
    return [each for each in result if isinstance(each, dict)] if isinstance(result, list) else []


def _of_task(
    task: Mapping[str, Any], drawn_on: set[str], said: Counter[str], size_of: SizeOf
) -> list[AnnotatedImage]:
    """An entry for every annotation, and of a task of several images for each of these that the file's
    regions are drawn on (`drawn_on`: the names of the interface's images)."""
    data = task.get("data")
    data = data if isinstance(data, dict) else {}
    pictures = _pictures(data)
    drawn = {key: name for key, name in pictures.items() if key in drawn_on}
    strange = drawn_on - pictures.keys()
    if len(pictures) < 2:
        drawn = {"": _image_name(data, task)}
    elif strange:
        return _unclear(pictures, f"its regions are on '{min(strange)}'")
    found = []
    skipped = 0
    for annotation in _annotations(task):
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            skipped += 1
            continue
        who = _annotator(annotation.get("completed_by"))
        if not isinstance(annotation.get("result", []) or [], list):
            found += [AnnotatedImage(name, problem=_NO_LIST) for name in drawn.values()]
            continue
        for key, name in drawn.items():
            regions = _regions(annotation.get("result"))
            regions = [each for each in regions if not key or each.get("to_name") == key]
            found.append(_image(name, regions, who, said, size_of))
    if not found and skipped:
        said["tasks that were skipped, left unknown"] += 1
    elif not found and (task.get("predictions") or task.get("drafts")):
        said["tasks with predictions or drafts alone, left unknown"] += 1
    names = drawn.values() or pictures.values()
    return found or [AnnotatedImage(name, looked_at=False) for name in names]


def _of_record(
    record: Mapping[str, Any], said: Counter[str], size_of: SizeOf
) -> list[AnnotatedImage]:
    """Of JSON-MIN: every list of regions, whatever the labelling interface calls it."""
    pictures = _pictures(record)
    if len(pictures) > 1:
        return _unclear(pictures, "JSON-MIN does not say which a region is on: export JSON")
    regions = [
        {
            "value": each,
            "original_width": each.get("original_width"),
            "original_height": each.get("original_height"),
        }
        for value in record.values()
        if isinstance(value, list)
        for each in value
        if isinstance(each, dict) and any(key in each for key in PLACES)
    ]
    who = _annotator(record.get("annotator"))
    return [_image(_image_name(record, record), regions, who, said, size_of)]


def _unclear(pictures: Mapping[str, str], why: str) -> list[AnnotatedImage]:
    problem = f"its task has {len(pictures)} images ({', '.join(pictures)}), and {why}"
    return [AnnotatedImage(name, problem=problem) for name in pictures.values()]


def _pictures(data: Mapping[str, Any]) -> dict[str, str]:
    """The values that end like a picture, by their keys; one a file."""
    found = {
        key: text
        for key, text in data.items()
        if isinstance(text, str)
        and (text.split("?")[0].lower().endswith(IMAGE_SUFFIXES) or _ends_like_one(text))
    }
    files = {
        text.replace("\\", "/").rpartition("/")[2]: key for key, text in reversed(found.items())
    }
    return {key: text for key, text in found.items() if key in files.values()}


def _ends_like_one(text: str) -> bool:
    return text.lower().endswith(IMAGE_SUFFIXES)


def _annotator(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return "" if value is None else str(value)


def _image_name(data: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """What the task's data call the image: the value that ends like a picture, else the uploaded
    file."""
    for text in _pictures(data).values():
        return text
    texts = [value for value in data.values() if isinstance(value, str)]
    return str(task.get("file_upload") or data.get("image") or (texts[0] if texts else ""))


def _image(
    name: str,
    regions: Sequence[Mapping[str, Any]],
    who: str,
    said: Counter[str],
    size_of: SizeOf,
) -> AnnotatedImage:
    without_area: Counter[str] = Counter()
    try:
        objects, size_hw = objects_of(regions, name, said, without_area, size_of)
    except DAMAGED as error:
        reason = why_damaged(error, "a region")
        return AnnotatedImage(name, problem=reason)
    for kind, count in without_area.items():
        said[f"shapes without an area are left out ({kind})"] += count
    # A person who marked points alone has looked at something else.
    looked_at = bool(objects) or not without_area
    return AnnotatedImage(name, objects, looked_at, size_hw, empty_mask=looked_at, annotator=who)


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
