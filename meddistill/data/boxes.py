"""Boxes: from masks, compared, filled, clipped. All are (N, 4) x1, y1, x2, y2 in px, half-open."""

from __future__ import annotations

import numpy as np

from meddistill.data.pixels import connected_components


def mask_to_boxes(mask: np.ndarray, min_area_px: int = 1) -> np.ndarray:
    """Boxes (N, 4) float32 of the 8-connected components of a bool mask (H, W), largest component
    first.

    Of an int mask, whose values from 1 number objects, the boxes of those. Components (or objects)
    smaller than `min_area_px` pixels give none; an empty mask gives (0, 4).
    """
    boxes, areas = connected_components(mask) if mask.dtype == bool else _objects(mask)
    order = np.lexsort((boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1], -areas))
    return boxes[order[areas[order] >= min_area_px]].astype(np.float32)


def _objects(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) and areas (N,) in px of the objects that an int mask (H, W) numbers."""
    rows, columns = np.nonzero(numbers)
    objects, place, areas = np.unique(
        numbers[rows, columns], return_inverse=True, return_counts=True
    )
    boxes = np.empty((len(objects), 4), dtype=np.int64)
    boxes[:, :2], boxes[:, 2:] = max(numbers.shape), 0
    for axis, found in enumerate((columns, rows)):
        np.minimum.at(boxes[:, axis], place, found)
        np.maximum.at(boxes[:, axis + 2], place, found + 1)
    return boxes, areas


def unite_boxes(boxes_xyxy_px: np.ndarray, merge_distance_px: float, per_case: bool) -> np.ndarray:
    """Boxes (N, 4) to (M, 4): those near each other merged (distance 0: none), or with `per_case`
    all into one."""
    boxes = np.asarray(boxes_xyxy_px, dtype=np.float32).reshape(-1, 4)
    if per_case and len(boxes):
        return _hull(boxes)
    return merge_boxes(boxes, merge_distance_px) if merge_distance_px > 0 else boxes


def merge_boxes(boxes_xyxy_px: np.ndarray, distance_px: float) -> np.ndarray:
    """Boxes (N, 4) to (M, 4), M <= N: any two that are at most `distance_px` apart become the box
    around both.

    A merged box takes the place of its first member. 0 merges boxes that touch or overlap.
    """
    boxes = list(np.asarray(boxes_xyxy_px, dtype=np.float32).reshape(-1, 4))
    index = 0
    while index < len(boxes):
        near = [
            other
            for other in range(index + 1, len(boxes))
            if _gap(boxes[index], boxes[other]) <= distance_px
        ]
        if not near:
            index += 1
            continue
        boxes[index] = _hull(np.stack([boxes[index], *(boxes[other] for other in near)]))[0]
        boxes = [box for other, box in enumerate(boxes) if other not in near]
        index = 0  # the larger box may now reach earlier ones
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _hull(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])[None].astype(
        np.float32
    )


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    """Euclidean distance between two boxes in px; 0 where they touch or overlap."""
    apart = np.maximum(np.maximum(a[:2] - b[2:], b[:2] - a[2:]), 0)
    return float(np.hypot(*apart))


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (M, N) float32 of boxes a (M, 4) and b (N, 4); 0 where both have no
    area."""
    a, b = (
        np.asarray(a, dtype=np.float64).reshape(-1, 1, 4),
        np.asarray(b, dtype=np.float64).reshape(1, -1, 4),
    )
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.clip(sides, 0, None).prod(axis=-1)
    union = _area(a) + _area(b) - intersection
    iou = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return np.asarray(iou, dtype=np.float32)


def match_overlaps(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """IoU of each box of `target` (M, 4) px with the box of `pred` (N, 4) that it is paired with:
    (M,), 0 for one without a partner. One to one, the largest overlap first."""
    found = np.zeros(len(target))
    if not len(pred) or not len(target):
        return found
    overlaps = box_iou(target, pred)
    while overlaps.max() > 0:
        row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
        found[row] = overlaps[row, column]
        overlaps[row], overlaps[:, column] = 0, 0
    return found


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1))


def fill_boxes(boxes_xyxy_px: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (H, W): pixels that any box touches. No box gives all False."""
    height, width = size_hw
    filled = np.zeros(size_hw, dtype=bool)
    for x1, y1, x2, y2 in clip_boxes(boxes_xyxy_px, (height, width)):
        if x2 > x1 and y2 > y1:
            filled[int(np.floor(y1)) : int(np.ceil(y2)), int(np.floor(x1)) : int(np.ceil(x2))] = (
                True
            )
    return filled


def grow_boxes(boxes_xyxy_px: np.ndarray) -> np.ndarray:
    """Boxes (N, 4), each larger by a quarter of its sides at every edge: what lies around a lesion,
    as a mask's soft edge reaches beyond its box. Not clipped."""
    more = 0.25 * (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2])
    return np.concatenate([boxes_xyxy_px[:, :2] - more, boxes_xyxy_px[:, 2:] + more], axis=1)


def clip_boxes(boxes_xyxy_px: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The boxes (N, 4) float32 cut to the image; one that lies outside keeps its row with no
    area.
    """
    height, width = size_hw
    boxes = np.asarray(boxes_xyxy_px, dtype=np.float32).reshape(-1, 4)
    return np.asarray(np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float32)))
