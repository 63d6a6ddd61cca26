"""Boxes from a file that names images go over what a source holds: `--boxes FILE`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from meddistill.base.errors import InputError
from meddistill.data.annotations import AnnotatedImage
from meddistill.data.image_names import ImageNames
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotated_cases import (
    is_looked_at,
    main_class,
    one_reading,
    wanted,
)
from meddistill.data.sources.fitted_boxes import fitted
from meddistill.data.sources.source import SourceOptions
from meddistill.run.tables import Rejected


class CaseNames:
    """The cases of a source by what a table may call them: path, file name, or name without
    ending."""

    def __init__(self, cases: Sequence[RawCase]) -> None:
        self._cases = cases
        self._names = ImageNames([case.source for case in cases], [case.name for case in cases])

    def find(self, name: str) -> int:
        """The index of the case. Raises: InputError where there is none or more than one."""
        return self._names.find(name)

    def size_of(self, name: str) -> tuple[int, int] | None:
        """Height and width of a case's picture; None where there is none."""
        try:
            return self._cases[self.find(name)].image.size_hw()
        except InputError:
            return None


def apply_boxes(
    cases: Sequence[RawCase],
    images: Sequence[AnnotatedImage],
    options: SourceOptions,
    names: CaseNames,
) -> tuple[list[RawCase], list[str]]:
    """The cases with the boxes of the file's `images`, and the names there that no case has.

    A case that the file does not name keeps what it had; its mask, if any, then only serves
    evaluation. A split that the file names goes before the source's. Raises: InputError where an image
    was annotated twice and the user has not chosen, or has another size than the file states.

    Args:
        cases: of the source.
        images: what the file says.
        options: of these, `classes`, `unannotated` and `annotators`.
        names: of the same cases.
    """
    said_of: dict[int, list[AnnotatedImage]] = {}
    strangers = set()
    for said in images:
        try:
            index = names.find(said.image)
        except InputError:
            strangers.add(said.image)
            continue
        size_hw = names.size_of(said.image) if said.size_hw and said.objects else None
        try:
            said_of.setdefault(index, []).append(fitted(said, size_hw, options.fit_boxes)[0])
        except InputError as error:
            raise InputError(f"{said.image}: {error}") from None
    return [
        _boxed(case, said_of.get(index, []), options) for index, case in enumerate(cases)
    ], sorted(strangers)


def _boxed(case: RawCase, readings: Sequence[AnnotatedImage], options: SourceOptions) -> RawCase:
    if not readings:
        # A file of boxes says what is annotated: boxes must not come from the mask of an image left
        # out of it.
        return dataclasses.replace(case, unannotated=True)
    said = one_reading(readings, options)
    case = dataclasses.replace(
        case, group=case.group or said.group, columns={**case.columns, **said.columns}
    )
    if not is_looked_at(said, options):
        return dataclasses.replace(case, unannotated=True)
    objects = wanted(said.objects, options)
    return dataclasses.replace(
        case,
        boxes_xyxy_px=tuple(each.box_xyxy_px for each in objects),
        box_findings=tuple(each.class_name for each in objects),
        looked_for=said.looked_for,
        class_name=case.class_name or main_class(objects),
    )


def without_image(file_name: str, names: Iterable[str]) -> list[Rejected]:
    """Rows of rejected.csv for `names` in the file of boxes that no image has."""
    return [
        Rejected(f"{file_name}: {name}", "boxes of an image that is not there") for name in names
    ]
