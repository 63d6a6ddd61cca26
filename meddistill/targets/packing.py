"""From the teacher's targets on disk to the packed cases that training draws from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.console import track
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
    """
    rows = [row for row in rows if teaches(row)]
    boxes = prior_boxes or {}
    packed = PackedCases(
        [row.case_id for row in rows],
        image_size,
        _shapes(rows, folders, feature_levels),
        max_boxes=max((len(found) for found in boxes.values()), default=0),
        directory=scratch,
    )
    for index, row in enumerate(track(rows, "load targets", len(rows))):
        found = folders.load(row)
        features = found.features
        if feature_levels and folders.of(row) != folders.teacher_dir:
            features = folders.features(row)
        target = CaseTarget(
            found.probs,
            found.uncertainty,
            published_v=row.v,
            doubt=row.doubt,
            weight=row.weight,
            boxes_xyxy_px=boxes.get(row.case_id),
            features=features,
        )
        packed.put(index, dataset.image(dataset.by_id[row.case_id]), target)
    packed.normalise_case_weights()
    return packed


def _shapes(
    rows: Sequence[QualityRow], folders: TargetFolders, levels: Sequence[str]
) -> dict[str, tuple[int, int, int]]:
    """(C, h, w) of each level, as the first row has them."""
    if not rows or not levels:
        return {}
    first = folders.features(rows[0])
    return {level: (first[level].shape[0], *first[level].shape[1:]) for level in levels}  # type: ignore[misc]
