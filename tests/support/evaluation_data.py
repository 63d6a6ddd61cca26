"""A small RUN made by hand, and a student that sees brightness, for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.csv_tables import write_table
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.formats.pictures import write_png
from meddistill.data.formats.yolo_labels import write_yolo_label
from meddistill.data.frames import Preprocessing
from meddistill.run.images import image_path
from meddistill.run.labels import label_path
from meddistill.run.layout import BOXES_CSV, CASES_CSV, RunDir
from meddistill.run.record import Stage
from meddistill.run.tables import BoxRow, Case
from meddistill.run.true_masks import mask_path

SIZE_HW = (40, 48)
LESIONS = {"a1": (8, 8, 10), "a2": (12, 20, 8), "b1": (20, 6, 6), "b2": None}
"""Test cases: top, left, side of a bright square; None is a healthy case. The letter is the group.
"""


class BrightnessStudent:
    """Probability = brightness, so what it finds is what a test paints."""

    def __init__(self, threshold: float = 0.5) -> None:
        self.preprocessing = Preprocessing(threshold=threshold)
        self.batches: list[int] = []

    def predict_probs(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.batches.append(len(images))
        return [image[..., 0].astype(np.float32) / 255 for image in images]


def square(top: int, left: int, side: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def truth_of(case_id: str) -> np.ndarray:
    place = LESIONS[case_id]
    return np.zeros(SIZE_HW, dtype=bool) if place is None else square(*place)


def picture_of(mask: np.ndarray) -> np.ndarray:
    """A dark image, bright where the mask is."""
    return np.repeat(np.where(mask, 220, 30).astype(np.uint8)[..., None], 3, axis=2)


def finish(directory: Path, name: str) -> None:
    """Mark a hand-made stage as finished."""
    Stage.open(directory, name, {}, {}, refresh=True).finish({}, sorted(directory.glob("*.csv")))


def make_run(
    root: Path, *, with_masks: bool = True, with_boxes: bool = True, spacing_mm: str = ""
) -> RunDir:
    """RUN/data with four test cases in two groups and a training case, and an empty RUN/student
    marked as finished. Without boxes nobody looked at a case."""
    run = RunDir(root)
    cases = []
    for case_id, place in [*LESIONS.items(), ("t1", (5, 5, 5))]:
        split = "train" if case_id == "t1" else "test"
        has_lesion = place is not None
        case = Case(
            case_id=case_id,
            split=split,
            group=case_id[0],
            class_name="glioma" if has_lesion else "none",
            annotation=("boxes" if has_lesion else "none") if with_boxes else "unknown",
            has_mask=with_masks,
            image=f"images/{split}/{case_id}.png",
            width=SIZE_HW[1],
            height=SIZE_HW[0],
            n_boxes=int(has_lesion and with_boxes),
            spacing_mm=spacing_mm,
            source=f"{case_id}.png",
            sha256="",
        )
        mask = square(*place) if place else np.zeros(SIZE_HW, dtype=bool)
        write_png(image_path(run.data, case), picture_of(mask))
        if with_boxes:
            write_yolo_label(label_path(run.data, case), mask_to_boxes(mask), SIZE_HW)
        if with_masks:
            write_png(mask_path(run.data, case), mask.astype(np.uint8) * 255)
        cases.append(case)
    write_table(run.data / CASES_CSV, Case, cases)
    finish(run.data, "prepare")
    run.student.mkdir(parents=True)
    finish(run.student, "distill")
    return run


def add_detector(run: RunDir) -> None:
    """Boxes that fit a1, are 2 px too wide on a2, and miss b1; none on the healthy b2."""
    boxes = [
        BoxRow("a1", "test", 8, 8, 18, 18, 0.9, "lesion"),
        BoxRow("a2", "test", 20, 12, 30, 20, 0.8, "lesion"),
    ]
    write_table(run.detector / BOXES_CSV, BoxRow, boxes)
    finish(run.detector, "detect")
