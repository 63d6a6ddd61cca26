"""What the names of boxes mean for the findings that a source is prepared for."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from meddistill.base.errors import ConfigError
from meddistill.data.findings import Findings, plain_name
from meddistill.data.prepare.naming import Naming
from meddistill.data.raw_case import RawCase
from meddistill.settings.prepare import PrepareConfig


def classes_asked(
    naming: Naming, classes: Sequence[str] | None, config: PrepareConfig
) -> tuple[str, ...]:
    """The class of boxes that is the one finding asked for, where boxes have others beside it; ()
    where all are taken. `classes`: that the source, or the user's file, has."""
    if not config.findings or config.classes or not naming.is_one or naming.values is not None:
        return ()
    return _of_name(naming.names[0], classes or ())


def _of_name(name: str, classes: Sequence[str]) -> tuple[str, ...]:
    return (name,) if name in classes and len(classes) > 1 else ()


def with_box_names(
    cases: Sequence[RawCase], findings: Findings, classes: Sequence[str], kept: Sequence[str]
) -> list[RawCase]:
    """The cases, in which a box means a finding by the name of its class, or one finding by any.

    Raises: ConfigError for a class that is a finding but for case or space: its boxes would be left
    out.

    Args:
        cases: of the source.
        findings: that it is prepared for.
        classes: of its boxes.
        kept: those that the user asked for; none: all.
    """
    wanted = [name for name in classes if not kept or name in kept]
    known = {plain_name(name): name for name in findings.names}
    for each in wanted if not findings.is_one or len(wanted) > 1 else ():
        same = known.get(plain_name(each), each)
        if same != each:
            raise ConfigError(
                f"boxes of '{each}' would be left out: finding '{same}' differs at most by case or "
                "space; write it as the source does, or give them one name there"
            )
    if not findings.is_one:
        return list(cases)
    wanted = list(_of_name(findings.names[0], wanted)) or wanted
    return [_as_one(case, wanted) for case in cases]


def _as_one(case: RawCase, classes: Sequence[str]) -> RawCase:
    """A case of which each box is of one finding, whatever class it has: without a box it was looked
    at where all classes were looked for in it, else nobody knows what is there."""
    if case.looked_for is None:
        return case
    if case.boxes_xyxy_px or set(classes) <= set(case.looked_for):
        return dataclasses.replace(case, looked_for=None)
    is_drawn = case.mask is not None and not case.mask.files  # from the same table: it is empty
    mask = None if is_drawn else case.mask
    return dataclasses.replace(
        case, looked_for=None, boxes_xyxy_px=None, mask=mask, unannotated=mask is not None
    )


def told_of_classes(cases: Sequence[RawCase], findings: Findings, most: int) -> str:
    """How many boxes there are of each class, and what becomes of them; '' where none has a name.
    `most`: so many classes are named at most."""
    counts = Counter(name for case in cases for name in case.box_findings if name)
    if not counts:
        return ""
    kept = {name for name in counts if findings.is_one or name in findings.names}
    told = f"boxes of {_listed(counts, sorted(kept), most)}"
    if findings.is_one and len(kept) > 1:
        told += f": all are one finding, '{findings.names[0]}'; --findings auto tells them apart"
    left_out = sorted(set(counts) - kept)
    return told + (f"; left out: {_listed(counts, left_out, most)}" if left_out else "")


def _listed(counts: Counter[str], names: Sequence[str], most: int) -> str:
    shown = ", ".join(f"{name} {counts[name]}" for name in names[:most])
    return shown + (", ..." if len(names) > most else "")
