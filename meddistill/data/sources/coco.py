"""COCO: a JSON with images, annotations (boxes, polygons, run lengths) and categories, and the
images somewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.formats.shapes import Shapes, parse_run_lengths
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.objects import Annotation, main_class, wanted
from meddistill.data.sources.pairing import by_name
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import walk_files
from meddistill.run.tables import Rejected

_KEYS = ("images", "annotations", "categories")
_HEAD = 4096


class Coco:
    name = "coco"
    summary = (
        "a JSON with images, annotations and categories (boxes, polygons, RLE), and the images"
    )
    general = False

    def recognise(self, directory: Path) -> str | None:
        for path in _json_files(directory):
            with path.open("rb") as file:
                if (
                    b'"images"' in (head := file.read(_HEAD))
                    or b'"annotations"' in head
                    or b'"categories"' in head
                ):
                    return f"{shown(path, directory)} has COCO's keys"
        return None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        found, rejected = walk_files(directory, directory)
        images = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
        files = by_name(images, lambda path: path.name)
        cases: list[RawCase] = []
        classes: set[str] = set()
        tables = []
        for path in _json_files(directory):
            content = _read(path)
            if content is None:
                continue
            tables.append(path)
            names, by_image = _tables(content, path)
            classes |= set(names.values())
            for image in content["images"]:
                try:
                    cases.append(
                        _case(
                            image,
                            by_image.get(image["id"], []),
                            names,
                            files,
                            directory,
                            options,
                            path,
                        )
                    )
                except (
                    InputError,
                    KeyError,
                    TypeError,
                    ValueError,
                    IndexError,
                    AttributeError,
                ) as error:
                    detail = (
                        str(error)
                        if isinstance(error, InputError)
                        else f"{type(error).__name__} {error}"
                    )
                    name = image.get("file_name", "?") if isinstance(image, dict) else "?"
                    rejected.append(
                        Rejected(str(name), f"entry of {path.name} is damaged: {detail}")
                    )
        if not tables:
            raise InputError(
                f"{directory} holds no JSON with the keys {', '.join(_KEYS)}, the layout of "
                f"{self.name}"
            )
        return Listing(cases, rejected, box_classes=sorted(classes), tables=tables)


def _json_files(directory: Path) -> list[Path]:
    return sorted(
        {
            path
            for level in range(3)
            for path in directory.glob("*/" * level + "*.json")
            if path.is_file()
        }
    )


def _read(path: Path) -> dict[str, Any] | None:
    """The content, or None for a JSON that is something else. Raises: InputError for one that is
    broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in _KEYS
    ):
        return None
    return content


def _tables(
    content: dict[str, Any], path: Path
) -> tuple[dict[Any, str], dict[Any, list[dict[str, Any]]]]:
    """Names of the categories by id, annotations by image. Raises: InputError."""
    by_image: dict[Any, list[dict[str, Any]]] = {}
    try:
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        for record in content["annotations"]:
            by_image.setdefault(record.get("image_id"), []).append(record)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__} {error}"
        raise InputError(
            f"{path}: a category lacks id or name, or an annotation is none ({what})"
        ) from error
    return names, by_image


def _case(
    image: dict[str, Any],
    records: list[dict[str, Any]],
    names: dict[Any, str],
    files: dict[str, list[Path]],
    directory: Path,
    options: SourceOptions,
    table: Path,
) -> RawCase:
    path = _find(str(image["file_name"]), files, directory)
    size_hw = int(image["height"]), int(image["width"])
    objects = wanted((_annotation(record, names) for record in records), options)
    shapes = None
    if all(each.has_shape for each in objects):
        shapes = Shapes(
            size_hw,
            tuple(points for each in objects for points in each.polygons_xy_px),
            tuple(each.run_lengths for each in objects if each.run_lengths is not None),
        )
    boxes = tuple(each.box_xyxy_px for each in objects)
    return RawCase(
        path.stem,
        shown(path, directory),
        ImageFile(path),
        shapes,
        boxes,
        main_class(objects),
        "",
        {"split": table.stem},
    )


def _find(name: str, files: dict[str, list[Path]], directory: Path) -> Path:
    """The image file with this name: its path must end in it, and it lies below the source
    folder.
    """
    ends = [
        path
        for path in files.get(name.rsplit("/", 1)[-1], [])
        if f"/{path.relative_to(directory).as_posix()}".endswith(f"/{name}")
    ]
    if not ends:
        raise InputError(f"no image file {name}")
    if len(ends) > 1:
        raise InputError(f"{len(ends)} image files are called {name}")
    return ends[0]


def _annotation(record: dict[str, Any], names: dict[Any, str]) -> Annotation:
    x, y, width, height = (float(value) for value in record["bbox"])
    shape = record.get("segmentation") or []
    polygons: tuple[tuple[float, ...], ...] = ()
    run_lengths = None
    if isinstance(shape, dict):
        counts = shape["counts"]
        run_lengths = (
            parse_run_lengths(counts)
            if isinstance(counts, str)
            else tuple(int(count) for count in counts)
        )
    else:
        polygons = tuple(tuple(float(value) for value in points) for points in shape)
        if any(len(points) < 6 or len(points) % 2 for points in polygons):
            raise InputError(
                "a polygon has fewer than three points, or an odd number of coordinates"
            )
    return Annotation(
        names[record["category_id"]], (x, y, x + width, y + height), polygons, run_lengths
    )
