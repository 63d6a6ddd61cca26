"""How good boxes are: matching to annotated ones, precision and recall, average precision, the
choice of a threshold.

Boxes are (N, 4) in px, `x1, y1, x2, y2`, half-open. A detection is right when it is matched: in
falling confidence, each takes the free annotated box of the same image that it overlaps most, at
`iou` or more. As a match never depends on less sure detections, one pass gives the counts at every
threshold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from meddistill.data.boxes import box_iou

COCO_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
# F1 is flat around its top, and its top falls by chance where validation is small: of thresholds as
# good within this much, the lowest finds the most lesions. On brain MRI (80 validation cases of 17
# series, halved 300 times by series: threshold from one half, measured on the other) 0.03 against 0
# gave F1 .752 against .750, recall .786 against .727.
F1_TIE = 0.03


@dataclasses.dataclass(frozen=True)
class Curve:
    """Precision and recall when only boxes of at least `confidence` count; one point a detection,
    in falling order.

    Shape: all (D,), D detections over all images; (0,) without any. `n_true`: annotated boxes.
    """

    confidence: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    n_true: int

    @property
    def f1(self) -> np.ndarray:
        total = self.precision + self.recall
        return np.asarray(
            np.divide(
                2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0
            )
        )

    def at(self, confidence: float) -> tuple[float | None, float | None]:
        """Precision and recall at a threshold: None for precision without any box, for recall
        without any to find."""
        kept = int(np.count_nonzero(self.confidence >= confidence))
        precision = float(self.precision[kept - 1]) if kept else None
        if self.n_true == 0:
            return precision, None
        return precision, float(self.recall[kept - 1]) if kept else 0.0


def match_boxes(
    pred: np.ndarray, confidence: np.ndarray, target: np.ndarray, iou: float = 0.5
) -> np.ndarray:
    """Which of one image's detections are right.

    Shape: pred (N, 4), confidence (N,), target (M, 4), to bool (N,) in the order of `pred`. Ties in
    confidence keep the given order. No detection gives (0,); no target gives all False.

    Args:
        pred: (N, 4) px, the boxes found.
        confidence: (N,) in [0, 1]; the surest choose first.
        target: (M, 4) px, the annotated boxes.
        iou: overlap from which a box is right.
    """
    right = np.zeros(len(pred), dtype=bool)
    if len(pred) == 0 or len(target) == 0:
        return right
    overlaps = box_iou(pred, target)
    for index in np.argsort(-np.asarray(confidence), kind="stable"):
        best = int(np.argmax(overlaps[index]))
        if overlaps[index, best] >= iou:
            right[index] = True
            overlaps[:, best] = -1.0  # each annotated box is found once
    return right


def precision_recall(
    preds: Sequence[np.ndarray],
    confidences: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    iou: float = 0.5,
) -> Curve:
    """The curve over several images. Recall is 1 everywhere where no image has an annotated box.

    Args:
        preds: boxes found, (N, 4) px an image.
        confidences: (N,) an image.
        targets: annotated boxes, (M, 4) px an image.
        iou: overlap from which a box is right.
    """
    n_true = sum(len(target) for target in targets)
    scores = np.concatenate([np.zeros(0), *confidences]).astype(np.float64)
    matches = [
        match_boxes(*image, iou=iou) for image in zip(preds, confidences, targets, strict=True)
    ]
    right = np.concatenate([np.zeros(0, dtype=bool), *matches])
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(right[order])
    precision = found / np.arange(1, len(found) + 1)
    recall = found / n_true if n_true else np.ones(len(found))
    return Curve(scores[order], precision, recall, n_true)


def average_precision(curve: Curve) -> float:
    """Area under the precision-recall curve, at 101 recalls as COCO and Ultralytics do; 0 without
    annotated boxes.

    Source: Lin et al., Microsoft COCO, ECCV 2014; pycocotools `cocoeval.py`.
    """
    if curve.n_true == 0 or len(curve.recall) == 0:
        return 0.0
    highest_beyond = np.maximum.accumulate(curve.precision[::-1])[::-1]
    places = np.searchsorted(curve.recall, np.linspace(0, 1, 101) - 1e-9, side="left")
    padded = np.append(highest_beyond, 0.0)
    return float(padded[places].mean())


def mean_average_precision(
    preds: Sequence[np.ndarray], confidences: Sequence[np.ndarray], targets: Sequence[np.ndarray]
) -> float:
    """Average precision, averaged over IoU 0.50, 0.55, ... 0.95 (mAP50-95 of one class)."""
    curves = [precision_recall(preds, confidences, targets, iou) for iou in COCO_IOUS]
    return float(np.mean([average_precision(curve) for curve in curves]))


def choose_confidence(curve: Curve) -> float | None:
    """The lowest threshold whose F1 is within `F1_TIE` of the best; None where no detection is
    right.

    Rounded down to four digits, so that the box that set it stays in.
    """
    f1 = curve.f1
    if curve.n_true == 0 or len(f1) == 0 or f1.max() == 0:
        return None
    # Detections of equal confidence stand or fall together: only the last of them is a possible
    # threshold.
    last_of_equal = np.append(curve.confidence[1:] != curve.confidence[:-1], True)
    allowed = np.flatnonzero(last_of_equal & (f1 >= f1[last_of_equal].max() - F1_TIE))
    return float(np.floor(curve.confidence[allowed[-1]] * 1e4) / 1e4)


def curve_points(curve: Curve, limit: int = 200) -> dict[str, list[float]]:
    """At most `limit` points of the curve as plain lists `confidence`, `precision`, `recall`, for a
    plot."""
    keep = np.unique(
        np.linspace(0, len(curve.confidence) - 1, min(limit, len(curve.confidence))).astype(int)
    )
    return {
        name: [round(float(value), 4) for value in getattr(curve, name)[keep]]
        for name in ("confidence", "precision", "recall")
    }
