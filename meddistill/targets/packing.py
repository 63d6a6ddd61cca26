"""From the teacher's targets on disk to the packed cases that training draws from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base import console
from meddistill.base.console import track
from meddistill.data.findings import LESION, Findings
from meddistill.run.dataset import Dataset
from meddistill.run.tables import QualityRow
from meddistill.targets.cache import TargetFolders
from meddistill.targets.prompts import NO_BOX
from meddistill.training.packed_cases import CaseTarget, PackedCases


def teaches(row: QualityRow) -> bool:
    """Whether the student learns from this target: accepted, and not left without a box by
    clipping."""
    return row.accepted and row.weight > 0 and (row.n_boxes > 0 or row.prompt_source == NO_BOX)


def pack_targets(
    rows: Sequence[QualityRow],
    dataset: Dataset,
    folders: TargetFolders,
    image_size: int,
    *,
    feature_levels: Sequence[str] = (),
    prior_boxes: Mapping[str, np.ndarray] | None = None,
    scratch: Path | None = None,
    findings: Findings = LESION,
) -> PackedCases:
    """Images and targets of the rows that `teaches` lets through, in their order.

    Args:
        rows: of quality.csv, or of a later round.
        dataset: where the images lie.
        folders: where the targets lie.
        image_size: side of the student's frame, px.
        feature_levels: the teacher's maps that are packed beside the masks.
        prior_boxes: case id -> (N, 4) px, boxes that the box priors may trust.
        scratch: where sets too large for memory are mapped.
        findings: of the RUN.
    """
    rows = [row for row in rows if teaches(row)]
    by_case: dict[str, list[QualityRow]] = {}
    for row in rows:
        by_case.setdefault(row.case_id, []).append(row)
    boxes = prior_boxes or {}
    packed = PackedCases(
        list(by_case),
        image_size,
        _shapes(rows, folders, feature_levels),
        max_boxes=max((len(found) for found in boxes.values()), default=0),
        directory=scratch,
        findings=len(findings),
    )
    settled = 0
    for index, (case_id, of_case) in enumerate(
        track(by_case.items(), "load targets", len(by_case))
    ):
        target, contested = _target(of_case, folders, findings, image_size)
        settled += contested
        features = folders.features(of_case[0]) if feature_levels else {}
        target = dataclasses.replace(target, boxes_xyxy_px=boxes.get(case_id), features=features)
        packed.put(index, dataset.image(dataset.by_id[case_id]), target)
    if settled:
        console.say(
            f"the teacher's masks of findings that exclude each other overlapped in {settled} of "
            f"{len(by_case)} cases: each pixel went to the more probable"
        )
    packed.normalise_case_weights()
    return packed


def _target(
    rows: Sequence[QualityRow], folders: TargetFolders, findings: Findings, image_size: int
) -> tuple[CaseTarget, bool]:
    """What the rows of one case teach, and whether masks of findings that exclude each other had to
    be settled. A finding without a row is not known, one without a box not there."""
    if findings.is_one:
        found = folders.load(rows[0])
        row = rows[0]
        target = CaseTarget(found.probs, found.uncertainty, row.v, row.doubt, row.weight)
        return target, False
    shape = (len(findings), image_size, image_size)
    probs, uncertainty = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    v, doubt, weight = (np.zeros(len(findings), np.float32) for _ in range(3))
    for row in rows:
        place = findings.index(row.finding)
        v[place], doubt[place], weight[place] = row.v, row.doubt, row.weight
        if row.n_boxes:
            found = folders.load(row)
            probs[place], uncertainty[place] = found.probs, found.uncertainty
    overlap = (probs > 0.5).sum(0) > 1
    contested = findings.settles and bool(overlap.any())
    if contested:
        first = probs.argmax(0)
        for place in range(len(findings)):
            loses = overlap & (first != place)
            probs[place][loses] = np.minimum(probs[place], 1 - probs.max(0))[loses]
    return CaseTarget(probs, uncertainty, v, doubt, weight), contested


def _shapes(
    rows: Sequence[QualityRow], folders: TargetFolders, levels: Sequence[str]
) -> dict[str, tuple[int, int, int]]:
    """(C, h, w) of each level, as the first row has them."""
    if not rows or not levels:
        return {}
    first = folders.features(rows[0])
    return {level: (first[level].shape[0], *first[level].shape[1:]) for level in levels}  # type: ignore[misc]
