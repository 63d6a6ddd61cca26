"""Boxes from a file that names images go over what a source holds: `--boxes FILE`, and
boxes.csv beside images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from meddistill.data.annotations import AnnotatedImage
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotated_cases import main_class, wanted
from meddistill.data.sources.source import SourceOptions
from meddistill.run.tables import Rejected


def apply_boxes(
    cases: Sequence[RawCase], images: Sequence[AnnotatedImage], options: SourceOptions
) -> tuple[list[RawCase], list[str]]:
    """The cases with the boxes of the file's `images`, and the names there that no case has.

    A name may be a case's path in the source, its file name, or its name without ending. A case
    that the file does not name keeps what it had; its mask, if any, then only serves evaluation.
    """
    by_name = {said.image: said for said in images}
    used = set()
    boxed = []
    for case in cases:
        names = (case.source, Path(case.source).name, case.name)
        said = next((by_name[name] for name in names if name in by_name), None)
        if said is None:
            # A file of boxes says what is annotated: boxes must not come from the mask of an image
            # left out of it.
            boxed.append(dataclasses.replace(case, unannotated=True))
            continue
        used.add(said.image)
        objects = wanted(said.objects, options)
        boxed.append(
            dataclasses.replace(
                case,
                boxes_xyxy_px=tuple(each.box_xyxy_px for each in objects),
                class_name=case.class_name or main_class(objects),
                group=case.group or said.group,
            )
        )
    return boxed, sorted(by_name.keys() - used)


def without_image(file_name: str, names: Iterable[str]) -> list[Rejected]:
    """Rows of rejected.csv for `names` in the file of boxes that no image has."""
    return [
        Rejected(f"{file_name}: {name}", "boxes of an image that is not there") for name in names
    ]
