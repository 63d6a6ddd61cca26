"""The report's pictures: a small JPEG a case, and its masks as outlines that the page can switch on
and off."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from skimage.measure import find_contours

from meddistill.data.formats.pictures import encode_jpeg, encode_png, shrink
from meddistill.evaluation.answers import AnsweredCase
from meddistill.evaluation.baselines import STUDENT
from meddistill.evaluation.scores import ScoreRow

PICTURE_SIDE = 384
UNCERTAINTY_SIDE = 160
_MOST_EDGES = 6000


@dataclasses.dataclass(frozen=True)
class GalleryItem:
    """One case as the page's script reads it; addresses hold their data, paths are SVG in pixels of
    the image.

    `outlines`: by method, `truth` where there is one, and `drawn`: the boxes that people gave.
    `scores`: by method; empty without a truth.
    """

    id: str
    name: str
    class_name: str
    width: int
    height: int
    picture: str
    uncertainty: str
    outlines: dict[str, str]
    scores: dict[str, dict[str, Any]]
    true_px: int
    missed: bool
    false_alarm: bool


def choose_cases(dice: Mapping[str, float], limit: int) -> list[str]:
    """At most `limit` case ids, worst first: the worst half of them, and an even choice of all the
    others."""
    ranked = sorted(dice, key=lambda case_id: (dice[case_id], case_id))
    if len(ranked) <= limit:
        return ranked
    worst, others = ranked[: limit // 2], ranked[limit // 2 :]
    places = np.linspace(0, len(others) - 1, limit - len(worst)).round().astype(int)
    return worst + [others[place] for place in places]


def make_item(answered: AnsweredCase, rows: Sequence[ScoreRow]) -> GalleryItem:
    """`rows` are the case's scores, one a method; none without a truth."""
    case, image, truth = answered.case, answered.image, answered.truth
    outlines = {name: _outlines(guess.masks) for name, guess in answered.guesses.items()}
    if truth is not None:
        outlines["truth"] = _outlines(truth)
    if case.boxes is not None and any(map(len, case.boxes)):
        outlines["drawn"] = "".join(_rectangle(box) for each in case.boxes for box in each.tolist())
    probs = answered.guesses[STUDENT].probs
    student = next((row for row in rows if row.method == STUDENT), None)
    return GalleryItem(
        id=case.case_id,
        name=case.name,
        class_name=case.class_name,
        width=image.shape[1],
        height=image.shape[0],
        picture=_address("jpeg", encode_jpeg(image, max_side=PICTURE_SIDE)),
        uncertainty=""
        if probs is None
        else _address("png", encode_png(uncertainty_picture(probs.max(axis=0)))),
        outlines=outlines,
        scores={
            row.method: {"dice": round(row.dice, 4), "hd95_px": round(row.hd95_px, 2)}
            for row in rows
        },
        true_px=0 if truth is None else int(truth.any(axis=0).sum()),
        missed=bool(student and student.missed),
        false_alarm=bool(student and student.false_alarm),
    )


def _outlines(masks: np.ndarray) -> str:
    return "".join(outline_path(mask) for mask in masks)


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
