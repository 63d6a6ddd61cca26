"""From what an annotation file says of an image to a case of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.annotations import AnnotatedImage, AnnotatedObject
from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.formats.shapes import Shapes
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.source import SourceOptions


def annotated_case(
    path: Path,
    directory: Path,
    said: AnnotatedImage | None,
    options: SourceOptions,
    columns: Mapping[str, str] | None = None,
) -> RawCase:
    """The case of the image file `path`.

    Args:
        path: the image.
        directory: the source folder, below which it lies.
        said: what is annotated in it; None where no file speaks of it, which leaves it unknown.
        options: of these, `classes` chooses among the objects.
        columns: other facts that may choose a split.
    """
    source, columns = shown(path, directory), columns or {}
    if said is None or not said.looked_at:
        return RawCase(path.stem, source, ImageFile(path), columns=columns)
    objects = wanted(said.objects, options)
    boxes = tuple(each.box_xyxy_px for each in objects)
    mask = _drawn(said, objects)
    return RawCase(
        path.stem, source, ImageFile(path), mask, boxes, main_class(objects), "", columns
    )


def _drawn(said: AnnotatedImage, objects: Sequence[AnnotatedObject]) -> Shapes | None:
    """The mask of the objects, where every one has a shape."""
    if said.size_hw is None or not all(each.has_shape for each in objects):
        return None
    if not objects and not said.empty_mask:
        return None
    return Shapes(
        said.size_hw,
        tuple(points for each in objects for points in each.polygons_xy_px),
        tuple(each.run_lengths for each in objects if each.run_lengths is not None),
    )


def wanted(objects: Iterable[AnnotatedObject], options: SourceOptions) -> list[AnnotatedObject]:
    """The objects of the classes that were asked for; all where none were."""
    return [each for each in objects if not options.classes or each.class_name in options.classes]


def main_class(objects: Sequence[AnnotatedObject]) -> str:
    """The class of the largest box; '' where there is none."""
    return max(objects, key=lambda each: (each.area, each.class_name)).class_name if objects else ""
