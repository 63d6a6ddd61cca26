"""What the classes of cases mean for the findings that a source is prepared for: the mask of a case
of the class `malignant` is none of the finding `benign`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import ConfigError
from meddistill.data.findings import Findings, plain_name
from meddistill.data.prepare.naming import Naming
from meddistill.data.raw_case import MaskRef, RawCase


@dataclasses.dataclass(frozen=True)
class OfAnotherClass:
    """A mask of what is none of the findings: nothing of them is there."""

    mask: MaskRef

    @property
    def files(self) -> tuple[Path, ...]:
        return self.mask.files

    @property
    def token(self) -> str:
        return f"of another class {self.mask.token}"

    def load(self) -> np.ndarray:
        return np.zeros_like(self.mask.load())


def with_case_classes(
    cases: Sequence[RawCase], findings: Findings, naming: Naming
) -> list[RawCase]:
    """The cases; where findings have the names of classes, one of another class shows none of them,
    whatever is marked in it. Masks whose values, or files, name findings say that themselves.

    Raises: ConfigError for a class that is a finding but for case or space: its masks would be left
    out.

    Args:
        cases: of the source.
        findings: that it is prepared for.
        naming: how they are named.
    """
    classes = sorted({case.class_name for case in cases if case.class_name})
    if naming.values is not None or not set(classes) & set(findings.names):
        return list(cases)
    known = {plain_name(name): name for name in findings.names}
    for each in classes:
        same = known.get(plain_name(each), each)
        if same != each:
            raise ConfigError(
                f"what is marked in cases of the class '{each}' would be left out: finding '{same}' "
                "differs at most by case or space; give both one name in the source"
            )
    return [_of_its_class(case, findings) for case in cases]


def _of_its_class(case: RawCase, findings: Findings) -> RawCase:
    if not case.class_name or case.class_name in findings.names or case.finding_masks:
        return case
    boxes = case.boxes_xyxy_px
    return dataclasses.replace(
        case,
        mask=OfAnotherClass(case.mask) if case.mask is not None else None,
        # Boxes with names of their own are sorted by these.
        boxes_xyxy_px=() if boxes and not any(case.box_findings) else boxes,
    )


def told_of_other_classes(cases: Sequence[RawCase]) -> str:
    """Of which classes masks are taken for empty, with their counts; '' where there are none."""
    counts = Counter(case.class_name for case in cases if isinstance(case.mask, OfAnotherClass))
    listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"none of the findings is in masks of the class {listed}" if listed else ""
