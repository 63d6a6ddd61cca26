"""From what an annotation file says of an image to a case of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.annotations import AnnotatedImage, AnnotatedObject, agree
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
        options: of these, `classes` chooses among the objects, `unannotated` says what none means.
        columns: other facts that may choose a split.
    """
    source, columns = shown(path, directory), columns or {}
    if said is None or not is_looked_at(said, options):
        return RawCase(path.stem, source, ImageFile(path), columns=columns)
    objects = wanted(said.objects, options)
    boxes = tuple(each.box_xyxy_px for each in objects)
    mask = _drawn(said, objects)
    return RawCase(
        path.stem,
        source,
        ImageFile(path),
        mask,
        boxes,
        main_class(objects),
        said.group,
        columns,
        box_findings=tuple(each.class_name for each in objects),
        finding_masks=_drawn_apart(said, objects) if mask and options.findings else (),
        looked_for=said.looked_for,
    )


def is_looked_at(said: AnnotatedImage, options: SourceOptions) -> bool:
    """Whether somebody looked at the image: where it has no object at all, as the user says, else
    as its file does."""
    if said.objects or options.unannotated == "auto":
        return said.looked_at
    return options.unannotated == "none"


def _drawn(said: AnnotatedImage, objects: Sequence[AnnotatedObject]) -> Shapes | None:
    """The mask of the objects, where every one has an outline."""
    if said.size_hw is None or not all(
        each.has_shape and not each.is_rectangle for each in objects
    ):
        return None
    if not objects and not said.empty_mask:
        return None
    return Shapes(
        said.size_hw,
        tuple(points for each in objects for points in each.polygons_xy_px),
        tuple(each.run_lengths for each in objects if each.run_lengths is not None),
    )


RECTANGLES = "polygons that are rectangles are taken for boxes, which make no mask"


def rectangles_in(said: AnnotatedImage) -> int:
    """How many objects are what `RECTANGLES` tells of."""
    return sum(each.is_rectangle for each in said.objects)


def _drawn_apart(
    said: AnnotatedImage, objects: Sequence[AnnotatedObject]
) -> tuple[tuple[str, Shapes], ...]:
    """A mask a class."""
    names = sorted({each.class_name for each in objects})
    parts = [[each for each in objects if each.class_name == name] for name in names]
    drawn = [(name, _drawn(said, part)) for name, part in zip(names, parts, strict=True)]
    return tuple((name, mask) for name, mask in drawn if mask is not None)


def one_reading(readings: Sequence[AnnotatedImage], options: SourceOptions) -> AnnotatedImage:
    """What several entries say of one image. Entries that say the same are one; an entry that
    nobody looked at gives way to one that somebody did.

    Raises: InputError where two people say different things, and the user has not chosen.
    """
    problem = next((said.problem for said in readings if said.problem), "")
    if problem:
        raise InputError(problem)
    looked = [said for said in readings if is_looked_at(said, options)]
    different: list[AnnotatedImage] = []
    for said in looked:
        if all(_content(said) != _content(other) for other in different):
            different.append(said)
    if not different:
        return readings[0]
    if len(different) == 1:
        return different[0]
    if options.annotators == "ask":
        raise SeveralReadingsError(different)
    return agree(
        [dataclasses.replace(said, looked_at=True) for said in different], options.annotators
    )


class SeveralReadingsError(InputError):
    """One image was annotated more than once, differently; `told` says by whom."""

    def __init__(self, readings: Sequence[AnnotatedImage]) -> None:
        who = (
            f"{said.annotator or f'entry {number}'}: {len(said.objects)} boxes"
            for number, said in enumerate(readings, start=1)
        )
        self.told = f"{readings[0].image or 'an image'} by {', '.join(who)}"
        super().__init__(several_readings([self.told]))


def several_readings(told: Sequence[str]) -> str:
    """What an error says of images that were annotated more than once."""
    return (
        f"images that were annotated more than once, and differently: {len(told)} "
        f"({'; '.join(told[:3])}); choose with --annotators union, intersection or first"
    )


def _content(said: AnnotatedImage) -> list[tuple[str, tuple[float, ...]]]:
    return sorted((each.class_name, each.box_xyxy_px) for each in said.objects)


def wanted(objects: Iterable[AnnotatedObject], options: SourceOptions) -> list[AnnotatedObject]:
    """The objects of the classes that were asked for; all where none were."""
    return [each for each in objects if not options.classes or each.class_name in options.classes]


def main_class(objects: Sequence[AnnotatedObject]) -> str:
    """The class of the largest box; '' where there is none."""
    return max(objects, key=lambda each: (each.area, each.class_name)).class_name if objects else ""


def main_name(boxes: Sequence[Sequence[float]], names: Sequence[str]) -> str:
    """The name of the largest box x1, y1, x2, y2; '' where there is none."""
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in boxes]
    return max(zip(sizes, names, strict=True))[1] if sizes else ""
