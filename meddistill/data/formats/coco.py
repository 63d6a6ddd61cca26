"""COCO: a JSON with images, annotations (boxes, polygons, run lengths) and categories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meddistill.base.errors import InputError
from meddistill.base.files import write_json
from meddistill.data.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    AnnotationFile,
    polygon_box,
)
from meddistill.data.formats.annotation_format import DAMAGED, NOTHING_BESIDE, KnownBeside
from meddistill.data.formats.annotation_writer import file_name_of, in_images, size_of
from meddistill.data.formats.shapes import parse_run_lengths, run_lengths_box
from meddistill.data.formats.text_files import WHOLE, first_text, read_json

_KEYS = ("images", "annotations", "categories")
_LIST = re.compile(rf'"({"|".join(_KEYS)})"\s*:\s*\[')


class CocoJson:
    name = "coco"
    summary = "a JSON with images, annotations and categories (boxes, polygons, RLE)"
    looks_like = f"JSON with the keys {', '.join(_KEYS)}"
    suffixes: tuple[str, ...] = (".json",)
    per_image = False
    no_annotation = "unknown: COCO lists images whether or not anybody looked at them"

    def recognise(self, path: Path) -> str | None:
        head = first_text(path)
        keys = set(_LIST.findall(head)) if head.lstrip().startswith("{") else set()
        if keys == {"categories"}:  # as in the notes.json beside Label Studio's YOLO files
            keys |= set(_LIST.findall(first_text(path, WHOLE)))
        return "has COCO's keys" if keys - {"categories"} else None

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """COCO lists images without telling whether anybody looked at them: one without annotation
        is unknown, unless its record has `annotation: none`, as we write it."""
        content = read_json(path)
        if not isinstance(content, dict) or not all(
            isinstance(content.get(key), list) for key in _KEYS
        ):
            return None
        names, by_image = _tables(content, path)
        shared = _shared_ids(content["images"])
        _settle_ids(content, names, by_image)
        images = tuple(_image(record, by_image, names, shared) for record in content["images"])
        known = {record["id"] for record in content["images"] if _has_id(record)}
        strays = sum(len(records) for key, records in by_image.items() if key not in known)
        crowds = sum(record.get("iscrowd") == 1 for record in content["annotations"])
        notes = {
            "annotations belong to no image and are left out": strays,
            "crowds (iscrowd) are taken as one object each": crowds,
        }
        classes = sorted(set(names.values()) - _families(content, images))
        return AnnotationFile(images, tuple(classes), notes)


def _has_id(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("id"), int | str)


def _families(content: Mapping[str, Any], images: Sequence[AnnotatedImage]) -> set[str]:
    """Names of categories that only others belong to, as the first one of Roboflow's files."""
    parents = {
        str(category.get("supercategory"))
        for category in content["categories"]
        if category.get("supercategory") != category["name"]
    }
    return parents - {each.class_name for image in images for each in image.objects}


def _shared_ids(records: Sequence[Any]) -> dict[Any, list[str]]:
    """The ids that more than one picture has, with the names of these."""
    names: dict[Any, dict[str, None]] = {}
    for record in records:
        if _has_id(record):
            names.setdefault(record["id"], {})[str(record.get("file_name"))] = None
    return {key: list(found) for key, found in names.items() if len(found) > 1}


def _tables(
    content: dict[str, Any], path: Path
) -> tuple[dict[Any, str], dict[Any, list[dict[str, Any]]]]:
    """Names of the categories by id, annotations by image. Raises: InputError."""
    by_image: dict[Any, list[dict[str, Any]]] = {}
    try:
        names: dict[Any, str] = {}
        for category in content["categories"]:
            name = str(category["name"])
            if names.setdefault(category["id"], name) != name:
                raise InputError(
                    f"{path}: category {category['id']} is both {names[category['id']]} and {name}: "
                    "give each an id of its own"
                )
        for record in content["annotations"]:
            by_image.setdefault(record.get("image_id"), []).append(record)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__} {error}"
        raise InputError(
            f"{path}: a category lacks id or name, or an annotation is none ({what})"
        ) from error
    return names, by_image


def _settle_ids(
    content: Mapping[str, Any], names: dict[Any, str], by_image: dict[Any, list[dict[str, Any]]]
) -> None:
    """Let what annotations call an image or a category, "7" for 7 or the reverse, be what it is called
    in its own record."""
    own = {str(record["id"]): record["id"] for record in content["images"] if _has_id(record)}
    as_written = set(own.values())
    for key in [key for key in by_image if key not in as_written and str(key) in own]:
        by_image.setdefault(own[str(key)], []).extend(by_image.pop(key))
    for category in list(names):
        other = str(category) if isinstance(category, int) else _as_number(category)
        names.setdefault(other, names[category])


def _as_number(text: Any) -> Any:
    return int(text) if isinstance(text, str) and text.isdecimal() else text


def _image(
    record: Any,
    by_image: Mapping[Any, list[dict[str, Any]]],
    names: Mapping[Any, str],
    shared: Mapping[Any, list[str]],
) -> AnnotatedImage:
    file_name = str(record.get("file_name", "")) if isinstance(record, dict) else ""
    try:
        annotations = by_image.get(record["id"], [])
        file_name = str(record["file_name"])
        if record["id"] in shared:
            both = ", ".join(shared[record["id"]][:3])
            raise InputError(f"image id {record['id']} is shared by {both}: whose boxes?")
        size_hw = _size(record)
        objects = tuple(_object(annotation, names, size_hw) for annotation in annotations)
        looked_for = _looked_for(record, objects, names)
    except DAMAGED as error:
        is_ours = isinstance(error, InputError)
        problem = str(error) if is_ours else f"{type(error).__name__} {error}"
        return AnnotatedImage(file_name, problem=problem)
    looked_at = bool(objects) or bool(looked_for) or record.get("annotation") == "none"
    return AnnotatedImage(
        file_name, objects, looked_at, size_hw, empty_mask=True, looked_for=looked_for
    )


def _looked_for(
    record: Mapping[str, Any], objects: Sequence[AnnotatedObject], names: Mapping[Any, str]
) -> tuple[str, ...] | None:
    """The classes that were looked for, where the record says so as LVIS does: those found, and the
    `neg_category_ids`, without the `not_exhaustive_category_ids`."""
    absent, in_part = (
        {names[key] for key in _ids(record, field) if key in names}
        for field in ("neg_category_ids", "not_exhaustive_category_ids")
    )
    if "neg_category_ids" not in record and not in_part:
        return None
    return tuple(sorted((absent | {each.class_name for each in objects}) - in_part))


def _ids(record: Mapping[str, Any], field: str) -> list[Any]:
    """Raises: InputError for what is no list of numbers or names."""
    found = record.get(field) or []
    if not isinstance(found, list) or not all(isinstance(each, int | str) for each in found):
        raise InputError(f"its {field} are no list of categories")
    return found


def _size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width as stated; None where the tool knew none."""
    if not record.get("height") and not record.get("width"):
        return None
    return int(record["height"]), int(record["width"])


def _object(
    record: dict[str, Any], names: Mapping[Any, str], size_hw: tuple[int, int] | None
) -> AnnotatedObject:
    shape = record.get("segmentation") or []
    polygons: tuple[tuple[float, ...], ...] = ()
    run_lengths = None
    if isinstance(shape, dict):
        counts, told = shape["counts"], shape.get("size")
        if size_hw is not None and told is not None and tuple(told) != size_hw:
            raise InputError(
                f"run lengths are of {told[1]}x{told[0]} pixels, expected {_shown(size_hw)}"
            )
        run_lengths = (
            parse_run_lengths(counts)
            if isinstance(counts, str)
            else tuple(int(count) for count in counts)
        )
    else:
        if not isinstance(shape[0] if shape else [], list):  # a single polygon, without a list
            shape = [shape]
        polygons = tuple(tuple(float(value) for value in points) for points in shape if points)
        if any(len(points) < 6 or len(points) % 2 for points in polygons):
            raise InputError(
                "a polygon has fewer than three points, or an odd number of coordinates"
            )
    box = _box(record, polygons, run_lengths)
    category = record["category_id"]
    if category not in names:
        raise InputError(f"category_id {category!r} is none of the file's categories")
    return AnnotatedObject(names[category], box, polygons, run_lengths)


def _shown(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}x{size_hw[0]}"


def _box(
    record: Mapping[str, Any],
    polygons: Sequence[Sequence[float]],
    run_lengths: Sequence[int] | None,
) -> tuple[float, float, float, float]:
    """The box of an annotation, or the one around its shape where it has none."""
    if record.get("bbox"):
        x, y, width, height = (float(value) for value in record["bbox"])
        return x, y, x + width, y + height
    if polygons:
        return polygon_box([value for points in polygons for value in points])
    if run_lengths is not None:
        return run_lengths_box(run_lengths, int(record["segmentation"]["size"][0]))
    raise InputError("an annotation has neither a box nor a shape")


class CocoWriter:
    source = "coco"
    holds_masks = True
    holds_predictions = False
    next_step = "import annotations.json with the pictures of images/ into your tool"
    place = staticmethod(in_images)

    def write(self, out: Path, images: Sequence[AnnotatedImage], classes: Sequence[str]) -> None:
        """One annotations.json. What COCO cannot tell is in a key of our own, `annotation`, of every
        image: boxes, none or unknown."""
        numbers = {name: number for number, name in enumerate(classes, start=1)}
        annotations: list[dict[str, Any]] = []
        records = []
        for image_id, image in enumerate(images, start=1):
            height, width = size_of(image)
            objects = image.objects if image.looked_at else ()
            meaning = "boxes" if objects else "none" if image.looked_at else "unknown"
            records.append(
                {
                    "id": image_id,
                    "file_name": file_name_of(image),
                    "width": width,
                    "height": height,
                    "annotation": meaning,
                    **_absent(image, numbers),
                }
            )
            annotations += [
                {
                    "id": len(annotations) + number,
                    "image_id": image_id,
                    "category_id": numbers[each.class_name],
                    **_written(each, (height, width)),
                }
                for number, each in enumerate(objects, start=1)
            ]
        content = {
            "images": records,
            "annotations": annotations,
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        }
        write_json(out / "annotations.json", content)


def _absent(image: AnnotatedImage, numbers: Mapping[str, int]) -> dict[str, list[int]]:
    """The classes that were looked for and not found, as LVIS says them; {} where all were."""
    if not image.looked_at or image.looked_for is None:
        return {}
    found = {each.class_name for each in image.objects}
    absent = [numbers[name] for name in image.looked_for if name not in found]
    return {"neg_category_ids": absent}


def _written(each: AnnotatedObject, size_hw: tuple[int, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = each.box_xyxy_px
    shape: Any = [list(points) for points in each.polygons_xy_px]
    if each.run_lengths is not None:
        shape = {"size": list(size_hw), "counts": list(each.run_lengths)}
    # The two ends, and not what is left of a subtraction, are what must come back.
    box = [x1, y1, _length(x1, x2), _length(y1, y2)]
    return {"bbox": box, "area": each.area, "iscrowd": 0, "segmentation": shape}


def _length(first: float, second: float) -> float:
    """`second - first`, in the decimals that a pixel's hundredth needs."""
    return round(second - first, 4)
