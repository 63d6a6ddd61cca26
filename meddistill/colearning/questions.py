"""What boxed images alone can say, without any mask: how good the heads' boxes are beside a
detector's, and whether more boxes would help."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.csv_tables import read_table
from meddistill.base.files import read_json, write_json
from meddistill.data.boxes import match_overlaps
from meddistill.run.dataset import Dataset
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import BOXES_CSV, COLEARNING_JSON, RUN_JSON
from meddistill.run.tables import BoxRow, Case, boxes_xyxy

HELPS_FROM, HARDLY_BELOW = 0.03, 0.01
"""Dice that the heads gained by twice the boxes, from which twice as many again would likely help,
and below which hardly."""
LEAST_BOXED = 10
"""Images with boxes below which nothing is concluded from them."""
_LEAST_GROUPS = 5
"""Patients below which it may be their number that leaves no halves."""
_TOO_FEW = "too few boxed images or patients to tell whether more would help"


@dataclasses.dataclass(frozen=True)
class Questioned:
    """What heads are worth on boxed images that they did not see, in [0, 1]: mean Dice of their
    masks with the targets, and mean IoU of their boxes with the annotated ones.

    `half_dice`: of heads that learnt from half as many boxed images; None where the groups make no
    halves. `n_boxed`: images that were judged, `n_groups` of them.
    """

    dice: float
    box_iou: float
    half_dice: float | None
    n_boxed: int
    n_groups: int


def save_questioned(directory: Path, found: Questioned) -> None:
    """Write colearning.json."""
    write_json(directory / COLEARNING_JSON, dataclasses.asdict(found))


def load_questioned(directory: Path) -> Questioned | None:
    """None for a student without, such as one of a single boxed group."""
    path = directory / COLEARNING_JSON
    return Questioned(**read_json(path)) if path.exists() else None


def more_boxes(found: Questioned | None) -> str:
    """In one line whether more boxes would help.

    The heads' gain from half to all of the boxes stands for what twice as many would give: gains
    shrink as boxes grow, so it rather promises too much.
    """
    if found is None or found.n_boxed < LEAST_BOXED:
        return _TOO_FEW
    if found.half_dice is None:
        # An even number of folds has no halves: of four patients, or of four heads.
        odd = "unknown: it takes an odd number of heads to tell (distill.colearning.heads)"
        return _TOO_FEW if found.n_groups < _LEAST_GROUPS else odd
    gain = found.dice - found.half_dice
    verdict = "may help a little"
    if gain >= HELPS_FROM:
        verdict = "would likely help"
    elif gain < HARDLY_BELOW:
        verdict = "would hardly help"
    return (
        f"{verdict}: from half of the boxed images to all {found.n_boxed} the heads' Dice with the "
        f"teacher went from {found.half_dice:.2f} to {found.dice:.2f} on images that they did not "
        "see"
    )


def detector_box_iou(detector_dir: Path, data: Dataset) -> tuple[float, int] | None:
    """Mean IoU of a detector's boxes with the annotated ones of validation cases, and how many boxes
    those are; None without a finished detector or such boxes.

    Its epoch and threshold were chosen on these very cases, so it is rather too good.
    """
    if not (detector_dir / RUN_JSON).exists():
        return None
    found: dict[str, list[BoxRow]] = {}
    for row in read_table(detector_dir / BOXES_CSV, BoxRow):
        found.setdefault(row.case_id, []).append(row)
    overlaps: list[np.ndarray] = []
    for case in data.of_split("val"):
        rows = found.get(case.case_id, [])
        if case.annotation == "boxes":
            overlaps += _overlaps(rows, case, data)
    if not overlaps:
        return None
    every = np.concatenate(overlaps)
    return float(every.mean()), len(every)


def _overlaps(rows: Sequence[BoxRow], case: Case, data: Dataset) -> list[np.ndarray]:
    """IoU of a detector's boxes with each annotated one, of each finding apart."""
    findings = read_findings(data.directory)
    if findings.is_one:
        return [match_overlaps(boxes_xyxy(rows), data.boxes(case))]
    annotated, which = annotated_findings(data.directory, case)
    return [
        match_overlaps(
            boxes_xyxy([row for row in rows if row.class_name == name]), annotated[which == place]
        )
        for place, name in enumerate(findings.names)
    ]


def who_proposes(found: Questioned | None, detector: tuple[float, int] | None) -> str:
    """In one line who proposes on unboxed images, and how the detector compares where there is
    one."""
    if found is None:
        return "the head proposes on unboxed images; one group of boxed images alone says nothing of it"
    head = (
        f"the head proposes on unboxed images: its boxes have an IoU of {found.box_iou:.2f} on "
        f"{found.n_boxed} boxed images that it did not see"
    )
    if detector is None:
        return f"{head}; no detector is needed"
    iou, count = detector
    if count < LEAST_BOXED:
        return f"{head}; the detector has {iou:.2f} on {count} validation boxes, too few to go by"
    if iou > found.box_iou:
        return (
            f"{head}; the detector has {iou:.2f} on {count} validation boxes (chosen on them), so "
            "it may be the better one: compare with --set distill.colearning.unboxed=detected "
            "--out another student"
        )
    return f"{head}; the detector has {iou:.2f} on {count} validation boxes and is not used"


def half_of(fold: int, folds: Sequence[int]) -> list[int] | None:
    """The folds whose boxed images make half of those that the head of `fold` learns from: the next
    ones in a circle. None where the others are an odd number."""
    count = max(folds) + 1
    if count < 3 or count % 2 == 0:
        return None
    return [(fold + step) % count for step in range(1, (count + 1) // 2)]


def as_results(found: Questioned | None, told: str) -> dict[str, Any]:
    """What run.json says of it."""
    return {"told": told, **({} if found is None else dataclasses.asdict(found))}
