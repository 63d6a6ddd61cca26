"""RUN/labels/boxes.csv: what the journals come to, a row a box, for people and other tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from meddistill.labelling.state import ImageState


@dataclasses.dataclass(frozen=True, slots=True)
class LabelRow:
    """One box of `image` (its path in the source), px, half-open; without a box the image was
    looked at and `finding` is not there. What nobody knows has no row. `source`: `given`, `drawn`,
    `accepted` or `corrected`; empty without a box."""

    image: str
    x1: float | None
    y1: float | None
    x2: float | None
    y2: float | None
    finding: str
    source: str = ""


def rows_of(image: str, state: ImageState, findings: Sequence[str]) -> Iterator[LabelRow]:
    """The rows of one image, its findings in the order of `findings`."""
    for finding in findings:
        boxes = [box for box in state.boxes if box.finding == finding]
        for box in boxes:
            x1, y1, x2, y2 = (round(side, 2) for side in box.xyxy)
            yield LabelRow(image, x1, y1, x2, y2, finding, box.source)
        if not boxes and finding in state.nothing:
            yield LabelRow(image, None, None, None, None, finding)


def table_of(states: Iterable[tuple[str, ImageState]], findings: Sequence[str]) -> list[LabelRow]:
    """The rows of all images, given as (path in the source, state)."""
    return [row for image, state in states for row in rows_of(image, state, findings)]
