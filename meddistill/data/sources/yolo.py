"""An existing YOLO set: images/ and labels/ with equal stems, lines `class cx cy w h` or `class x y
x y ...`."""

from __future__ import annotations

import math
from pathlib import Path

from omegaconf import OmegaConf

from meddistill.base.errors import InputError, in_one_line
from meddistill.base.paths import shown
from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.formats.pictures import picture_size
from meddistill.data.formats.shapes import Shapes, polygon_box
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.objects import Annotation, main_class, wanted
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files
from meddistill.run.tables import Rejected


class Yolo:
    name = "yolo"
    summary = (
        "images/ and labels/ with equal stems, lines `class cx cy w h` (or polygons), and data.yaml"
    )
    general = False

    def recognise(self, directory: Path) -> str | None:
        label = _first_label(directory)
        return (
            f"it has {shown(label, directory)} and images/"
            if label and any_file(directory, "images")
            else None
        )

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        table = next(
            (path for path in (any_file(directory, "*.yaml", "*.yml", depth=1),) if path), None
        )
        names = _read_names(table) if table else {}
        images, rejected = image_files(directory, directory)
        images = [path for path in images if "images" in path.relative_to(directory).parts]
        if not images:
            raise InputError(f"{directory} has no images below images/, the layout of {self.name}")
        cases: list[RawCase] = []
        classes: set[str] = set()
        unlabelled = 0
        tables = [table] if table else []
        for path in images:
            label = _label_of(path, directory)
            has_label = label.is_file()
            tables += [label] if has_label else []
            unlabelled += not has_label
            try:
                case, found = _case(path, label if has_label else None, names, directory, options)
            except InputError as error:
                rejected.append(Rejected(shown(path, directory), str(error)))
                continue
            classes |= found
            cases.append(case)
        notes = (
            [f"{unlabelled} images have no label file: taken as unknown, not as free of lesions"]
            if unlabelled
            else []
        )
        return Listing(cases, rejected, notes, sorted(classes | set(names.values())), tables)


def _first_label(directory: Path) -> Path | None:
    for folder in (directory / "labels", *directory.glob("*/labels")):
        found = any_file(folder, "*.txt", depth=2) if folder.is_dir() else None
        if found:
            return found
    return None


def _label_of(image: Path, directory: Path) -> Path:
    """`images` becomes `labels` in the last place where it is a folder's name, as Ultralytics
    does.
    """
    parts = list(image.relative_to(directory).parts)
    last = max(index for index, part in enumerate(parts[:-1]) if part == "images")
    parts[last] = "labels"
    return directory.joinpath(*parts).with_suffix(".txt")


def _read_names(path: Path) -> dict[int, str]:
    """Class names by number, of `names:` as a list or as numbers with names; {} where the file has
    none."""
    try:
        names = OmegaConf.to_container(OmegaConf.load(path)).get("names", {})  # type: ignore[union-attr]
        numbered = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name) for number, name in numbered}
    except Exception as error:  # unreadable, not YAML, or something else entirely under `names`
        raise InputError(f"{path} cannot be read: {in_one_line(error)}") from error


def _case(
    path: Path, label: Path | None, names: dict[int, str], directory: Path, options: SourceOptions
) -> tuple[RawCase, set[str]]:
    source = shown(path, directory)
    parts = path.relative_to(directory).parts
    split = next((part for part in reversed(parts[:-1]) if part != "images"), "")
    columns = {"split": split} if split else {}
    if label is None:
        return RawCase(path.stem, source, ImageFile(path), columns=columns), set()
    size_hw = picture_size(path)
    objects = _read_label(label, names, size_hw)
    kept = wanted(objects, options)
    shapes = None
    if kept and all(each.has_shape for each in kept):
        shapes = Shapes(size_hw, tuple(points for each in kept for points in each.polygons_xy_px))
    boxes = tuple(each.box_xyxy_px for each in kept)
    case = RawCase(path.stem, source, ImageFile(path), shapes, boxes, main_class(kept), "", columns)
    return case, {each.class_name for each in objects}


def _read_label(path: Path, names: dict[int, str], size_hw: tuple[int, int]) -> list[Annotation]:
    height, width = size_hw
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"label {path.name} cannot be read: {error}") from error
    objects = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            code, *values = (float(part) for part in line.split())
        except ValueError:
            raise InputError(
                f"label {path.name} line {number} is not numbers: {line[:40]!r}"
            ) from None
        if not all(math.isfinite(value) for value in (code, *values)):
            raise InputError(f"label {path.name} line {number} has a value that is not finite")
        class_name = names.get(int(code), str(int(code)))
        if len(values) == 4:
            cx, cy, w, h = values
            box = (
                (cx - w / 2) * width,
                (cy - h / 2) * height,
                (cx + w / 2) * width,
                (cy + h / 2) * height,
            )
            objects.append(Annotation(class_name, box))
        elif len(values) >= 6 and len(values) % 2 == 0:
            points = tuple(value * (width, height)[index % 2] for index, value in enumerate(values))
            objects.append(Annotation(class_name, polygon_box(points), (points,)))
        else:
            raise InputError(
                f"label {path.name} line {number} has {len(values) + 1} numbers, expected 5 or a "
                "polygon"
            )
    return objects
