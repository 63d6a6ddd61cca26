"""From the teacher's targets on disk to the packed cases that training draws from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.console import track
from meddistill.data.formats.pictures import read_rgb
from meddistill.run.images import image_path
from meddistill.run.tables import Case, QualityRow
from meddistill.targets.making import load_target
from meddistill.targets.prompts import NO_BOX, STUDENT
from meddistill.training.packed_cases import PackedCases


def teaches(row: QualityRow) -> bool:
    """Whether the student learns from this target: accepted, and not left without a box by
    clipping."""
    return row.accepted and row.weight > 0 and (row.n_boxes > 0 or row.prompt_source == NO_BOX)


def pack_targets(
    rows: Sequence[QualityRow],
    cases: Mapping[str, Case],
    data_dir: Path,
    teacher_dir: Path,
    image_size: int,
    *,
    feature_levels: Sequence[str] = (),
    prior_boxes: Mapping[str, np.ndarray] | None = None,
    scratch: Path | None = None,
    rounds_dir: Path | None = None,
    feature_keys: Mapping[str, str] | None = None,
) -> PackedCases:
    """Images and targets of the rows that `teaches` lets through, in their order.

    `prior_boxes`: case id -> (N, 4) px, boxes that the box priors may trust. `scratch`: where sets
    too large for memory are mapped. `rounds_dir`: where the targets lie that the student's boxes
    gave. `feature_keys`: case id -> key of the first target of the case; it holds the features,
    which depend on the image alone.
    """
    rows = [row for row in rows if teaches(row)]
    feature_keys = feature_keys or {}
    shapes: dict[str, tuple[int, int, int]] = {}
    if rows and feature_levels:
        first = load_target(
            teacher_dir, rows[0].case_id, feature_keys.get(rows[0].case_id, rows[0].key)
        ).features
        shapes = {
            level: (first[level].shape[0], *first[level].shape[1:]) for level in feature_levels
        }  # type: ignore[misc]
    boxes = prior_boxes or {}
    packed = PackedCases(
        [row.case_id for row in rows],
        image_size,
        shapes,
        max_boxes=max((len(found) for found in boxes.values()), default=0),
        directory=scratch,
    )
    for index, row in enumerate(track(rows, "load targets", len(rows))):
        folder = (
            rounds_dir if rounds_dir is not None and row.prompt_source == STUDENT else teacher_dir
        )
        target = load_target(folder, row.case_id, row.key)
        features = target.features
        if feature_levels and folder != teacher_dir:
            features = load_target(teacher_dir, row.case_id, feature_keys[row.case_id]).features
        packed.put(
            index,
            read_rgb(image_path(data_dir, cases[row.case_id])),
            target.probs,
            target.uncertainty,
            published_v=row.v,
            doubt=row.doubt,
            weight=row.weight,
            boxes_xyxy_px=boxes.get(row.case_id),
            features=features,
        )
    packed.normalise_case_weights()
    return packed
