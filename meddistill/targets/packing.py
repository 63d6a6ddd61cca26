"""From the teacher's targets on disk to the packed cases that training draws from."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base import console
from meddistill.base.console import track
from meddistill.data.findings import LESION, Findings, as_planes
from meddistill.run.dataset import Dataset
from meddistill.run.tables import QualityRow
from meddistill.targets.cache import TargetFolders
from meddistill.targets.prompts import CARRIED, NO_BOX
from meddistill.targets.tiling import choose_corners, cut_case
from meddistill.training.packed_cases import CaseTarget, PackedCases

_SWALLOWED = 0.5
"""Share of a smaller mask inside another from which that one swallows it."""


def teaches(row: QualityRow) -> bool:
    """Whether the student learns from this target: accepted, and not left without a box by
    clipping."""
    return (
        row.accepted
        and row.weight > 0
        and (row.n_boxes > 0 or row.prompt_source in (NO_BOX, CARRIED))
    )


@dataclasses.dataclass(frozen=True)
class Packing:
    """Where images (`dataset`) and targets (`folders`) lie, the side of the student's frame in px,
    the findings of the RUN, and how many neighbours of a slice are seen on each side. `tiles`:
    whether frames are tiles of the images; then targets have the images' own resolution."""

    dataset: Dataset
    folders: TargetFolders
    image_size: int
    findings: Findings = LESION
    context: int = 0
    tiles: bool = False

    def target_side(self, case_id: str) -> int:
        """Side of the square that a case's target lies in, px."""
        if not self.tiles:
            return self.image_size
        case = self.dataset.by_id[case_id]
        return max(case.width, case.height)


def pack_targets(
    rows: Sequence[QualityRow],
    packing: Packing,
    *,
    feature_levels: Sequence[str] = (),
    prior_boxes: Mapping[str, np.ndarray] | None = None,
    scratch: Path | None = None,
) -> PackedCases:
    """Images and targets of the rows that `teaches` lets through, in their order; of tiles those of
    one case together, under its id.

    Args:
        rows: of quality.csv, or of a later round.
        packing: what is packed, and how large.
        feature_levels: the teacher's maps that are packed beside the masks.
        prior_boxes: case id -> (N, 4) px, boxes that the box priors may trust.
        scratch: where sets too large for memory are mapped.
    """
    dataset, folders, findings = packing.dataset, packing.folders, packing.findings
    rows = [row for row in rows if teaches(row)]
    by_case: dict[str, list[QualityRow]] = {}
    for row in rows:
        by_case.setdefault(row.case_id, []).append(row)
    boxes = prior_boxes or {}
    corners = _corners(by_case, packing)
    packed = PackedCases(
        [case_id for case_id, places in corners.items() for _ in places],
        packing.image_size,
        _shapes(rows, folders, feature_levels),
        max_boxes=max((len(found) for found in boxes.values()), default=0),
        directory=scratch,
        findings=len(findings),
        channels=2 * packing.context + 1 if packing.context else 3,
    )
    if not findings.is_one:
        packed.keep_planes(sum(len(corners[row.case_id]) for row in rows if row.n_boxes))
    settled = 0
    swallowed: Counter[tuple[str, str]] = Counter()
    index = itertools.count()
    for case_id, of_case in track(by_case.items(), "load targets", len(by_case)):
        target, contested, swallows = case_target(of_case, packing)
        if of_case[0].split == "train":  # the other splits would tell the same once more
            settled += contested
            swallowed.update(swallows)
        features = folders.features(of_case[0]) if feature_levels else {}
        target = dataclasses.replace(target, boxes_xyxy_px=boxes.get(case_id), features=features)
        image = dataset.seen(dataset.by_id[case_id], packing.context)
        pieces = [(image, target)]
        if packing.tiles:
            pieces = list(cut_case(image, target, corners[case_id], packing.image_size))
        for piece in pieces:
            packed.put(next(index), *piece)
    trained = sum(of_case[0].split == "train" for of_case in by_case.values())
    _tell(settled, swallowed, trained)
    packed.normalise_case_weights()
    return packed


_WHOLE = [(0, 0)]


def _corners(
    by_case: Mapping[str, list[QualityRow]], packing: Packing
) -> dict[str, list[tuple[int, int]]]:
    """Where the tiles of each case begin; without tiles its whole image."""
    if not packing.tiles:
        return dict.fromkeys(by_case, _WHOLE)
    found = {}
    for case_id, rows in track(by_case.items(), "choose tiles", len(by_case)):
        case = packing.dataset.by_id[case_id]
        probs = as_planes(case_target(rows, packing)[0].probs)
        size_hw = (case.height, case.width)
        found[case_id] = choose_corners(case_id, probs, size_hw, packing.image_size)
    return found


def _tell(settled: int, swallowed: Mapping[tuple[str, str], int], cases: int) -> None:
    if settled:
        console.say(
            f"the teacher's masks of findings that exclude each other overlapped in {settled} of "
            f"{cases} training cases: each pixel went to the more probable"
        )
    for (ring, inner), count in swallowed.items():
        console.warn(
            f"the teacher's masks of '{ring}' swallow '{inner}' in {count} of {cases} training "
            f"cases, as those of rings do: inside '{inner}' nothing is learnt of '{ring}'"
        )


def case_target(
    rows: Sequence[QualityRow], packing: Packing
) -> tuple[CaseTarget, bool, list[tuple[str, str]]]:
    """What the rows of one case teach, whether masks of findings that exclude each other had to be
    settled, and which swallow which. A finding without a row is not known, one without a box not
    there; where one swallows another, its box could not teach it, and it is unknown there."""
    folders, findings = packing.folders, packing.findings
    if findings.is_one:
        found = folders.load(rows[0])
        row = rows[0]
        target = CaseTarget(found.probs, found.uncertainty, row.v, row.doubt, row.weight)
        return target, False, []
    side = packing.target_side(rows[0].case_id)
    shape = (len(findings), side, side)
    probs, uncertainty = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    v, doubt, weight = (np.zeros(len(findings), np.float32) for _ in range(3))
    for row in rows:
        place = findings.index(row.finding)
        v[place], doubt[place], weight[place] = row.v, row.doubt, row.weight
        if row.n_boxes:
            found = folders.load(row)
            probs[place], uncertainty[place] = found.probs, found.uncertainty
    contested = findings.settles and bool(((probs > 0.5).sum(0) > 1).any())
    probs, pixel_weight, swallows = settle_masks(probs, findings)
    target = CaseTarget(probs, uncertainty, v, doubt, weight, pixel_weight=pixel_weight)
    return target, contested, swallows


def settle_masks(
    probs: np.ndarray, findings: Findings
) -> tuple[np.ndarray, np.ndarray | None, list[tuple[str, str]]]:
    """The teacher's masks of one case, (C, H, W) float32 in [0, 1], of which no two hold a pixel where
    findings exclude each other; how far each pixel counts, 0 of a ring inside what it swallows (None:
    all fully); and which swallows which."""
    masks = probs > 0.5
    swallows: list[tuple[str, str]] = []
    if not findings.settles or not (masks.sum(0) > 1).any():
        return probs, None, swallows
    pixel_weight = None
    for ring, inner in itertools.permutations(range(len(findings)), 2):
        both, whole = masks[ring] & masks[inner], masks[inner].sum()
        if whole < masks[ring].sum() and both.sum() >= _SWALLOWED * whole > 0:
            swallows.append((findings.names[ring], findings.names[inner]))
            pixel_weight = np.ones_like(probs) if pixel_weight is None else pixel_weight
            pixel_weight[ring][both] = 0
    # What is swallowed keeps its pixels.
    first = sorted({findings.index(inner) for _, inner in swallows})
    return findings.settle(probs, first), pixel_weight, swallows


def _shapes(
    rows: Sequence[QualityRow], folders: TargetFolders, levels: Sequence[str]
) -> dict[str, tuple[int, int, int]]:
    """(C, h, w) of each level, as the first row has them."""
    if not rows or not levels:
        return {}
    first = folders.features(rows[0])
    return {level: (first[level].shape[0], *first[level].shape[1:]) for level in levels}  # type: ignore[misc]
