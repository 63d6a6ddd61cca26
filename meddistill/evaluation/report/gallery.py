"""The report's pictures: a small JPEG a case, and its masks as outlines that the page can switch on
and off."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from skimage.measure import find_contours

from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import encode_jpeg, encode_png
from meddistill.data.pixels import shrink
from meddistill.evaluation.answers import AnsweredCase
from meddistill.evaluation.baselines import STUDENT
from meddistill.evaluation.components import confuse_lesions
from meddistill.evaluation.scores import ScoreRow, case_dice

PICTURE_SIDE = 384
UNCERTAINTY_SIDE = 160
_MOST_EDGES = 6000


@dataclasses.dataclass(frozen=True)
class GalleryItem:
    """One case as the page's script reads it; addresses hold their data, paths are SVG in pixels of
    the image.

    `outlines`: a path a finding, '' for an empty mask, by method, `truth` where there is one, and
    `drawn`: the boxes that people gave. `scores`: a dict a method and finding; empty without a
    truth. `dice`: the student's (`case_dice`), or None. `findings`: places of those that are there
    or were found. `confused`: whether the student took a lesion for another finding.
    """

    id: str
    name: str
    class_name: str
    width: int
    height: int
    picture: str
    uncertainty: str
    outlines: dict[str, list[str]]
    scores: list[dict[str, Any]]
    dice: float | None
    true_px: int
    missed: bool
    false_alarm: bool
    findings: list[int]
    confused: bool


def choose_cases(dice: Mapping[str, float], limit: int) -> list[str]:
    """At most `limit` case ids, worst first: the worst half of them, and an even choice of all the
    others."""
    ranked = sorted(dice, key=lambda case_id: (dice[case_id], case_id))
    if len(ranked) <= limit:
        return ranked
    worst, others = ranked[: limit // 2], ranked[limit // 2 :]
    places = np.linspace(0, len(others) - 1, limit - len(worst)).round().astype(int)
    return worst + [others[place] for place in places]


def make_item(answered: AnsweredCase, rows: Sequence[ScoreRow], findings: Findings) -> GalleryItem:
    """`rows` are the case's scores, one a method and finding; none without a truth. What of the
    findings is not judged in the case is not drawn."""
    case, image, truth = answered.case, answered.image, answered.truth
    known = np.isin(np.arange(len(findings)), answered.places)[:, None, None]
    masks = {name: guess.masks & known for name, guess in answered.guesses.items()}
    if truth is not None:
        masks["truth"] = truth & known
    outlines = {name: [outline_path(mask) for mask in planes] for name, planes in masks.items()}
    if case.boxes is not None and any(map(len, case.boxes)):
        outlines["drawn"] = ["".join(map(_rectangle, each.tolist())) for each in case.boxes]
    probs = answered.guesses[STUDENT].probs
    own = [row for row in rows if row.method == STUDENT]
    places = {"": 0} | {name: place for place, name in enumerate(findings.names)}
    there = masks[STUDENT] | masks.get("truth", False)
    return GalleryItem(
        id=case.case_id,
        name=case.name,
        class_name=case.class_name,
        width=image.shape[1],
        height=image.shape[0],
        picture=_address("jpeg", encode_jpeg(image, max_side=PICTURE_SIDE)),
        uncertainty="" if probs is None else _address("png", encode_png(_doubt(probs))),
        outlines=outlines,
        scores=[
            {
                "method": row.method,
                "finding": places[row.finding],
                "dice": round(row.dice, 4),
                "hd95_px": round(row.hd95_px, 2),
                "empty": not (row.true_px or row.pred_px),
            }
            for row in rows
        ],
        dice=round(case_dice(own), 4) if own else None,
        true_px=int(masks["truth"].any(axis=0).sum()) if truth is not None else 0,
        missed=any(row.missed for row in own),
        false_alarm=any(row.false_alarm for row in own),
        findings=np.flatnonzero(there.any(axis=(1, 2))).tolist(),
        confused=truth is not None and _confused(masks[STUDENT], masks["truth"]),
    )


def _confused(pred: np.ndarray, truth: np.ndarray) -> bool:
    """Whether a lesion was found as another finding."""
    counts = confuse_lesions(pred, truth)[:-1, :-1]
    return bool(counts.sum() > counts.trace())


def outline_path(mask: np.ndarray) -> str:
    """SVG path around a boolean mask (H, W), in px, holes included (fill by even-odd); '' for an
    empty mask.

    A ragged mask is drawn more coarsely, so that no path is long.
    """
    if not mask.any():
        return ""
    soft = mask.astype(np.float32)
    while _n_edges(soft >= 0.5) > _MOST_EDGES:
        soft = shrink(soft, max(soft.shape) // 2)
    scale = max(mask.shape) / max(soft.shape)
    # A rim of background closes outlines at the image's edge; pixel (0, 0) of the mask covers 0 to
    # 1.
    contours = find_contours(np.pad(soft, 1), 0.5)
    return "".join(_to_path((_corners(contour) - 0.5) * scale) for contour in contours)


def _rectangle(box_xyxy_px: Sequence[float]) -> str:
    x1, y1, x2, y2 = box_xyxy_px
    return f"M{x1:.4g} {y1:.4g}H{x2:.4g}V{y2:.4g}H{x1:.4g}Z"


def _n_edges(mask: np.ndarray) -> int:
    """Pixel sides between mask and background."""
    return int(
        np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    )


def _corners(contour: np.ndarray) -> np.ndarray:
    """A closed contour (N, 2), its last point as its first, without the points on straight lines:
    (M, 2), open."""
    points = contour[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return points[turns]


def _to_path(points: np.ndarray) -> str:
    return (
        "M" + "L".join(f"{x:.4g} {y:.4g}" for y, x in points.tolist()) + "Z"
        if len(points) > 2
        else ""
    )


def _doubt(probs: np.ndarray) -> np.ndarray:
    """`uncertainty_picture` of the finding that is most in doubt at each pixel."""
    nearest = np.abs(probs - 0.5).argmin(axis=0)
    return uncertainty_picture(np.take_along_axis(probs, nearest[None], axis=0)[0])


def uncertainty_picture(probs: np.ndarray) -> np.ndarray:
    """uint8 (h, w): 4 p (1 - p), 255 where the student is torn (p = 0.5), in steps of 16 so that it
    compresses."""
    doubt = shrink((4 * probs * (1 - probs)).astype(np.float32), UNCERTAINTY_SIDE)
    return (np.clip(doubt, 0, 1) * 15).round().astype(np.uint8) * 17


def picture_address(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return _address("png", png)


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
