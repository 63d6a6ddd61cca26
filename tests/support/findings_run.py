"""A small RUN of three findings made by hand, and a student that sees colours, for the tests of
evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from support.evaluation_data import SIZE_HW, finish, square

from meddistill.base.csv_tables import write_table
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import write_palette_png, write_png
from meddistill.data.formats.yolo_labels import write_yolo_label
from meddistill.data.frames import Preprocessing
from meddistill.run.findings import write_data_yaml
from meddistill.run.images import image_path
from meddistill.run.labels import label_path
from meddistill.run.layout import BOXES_CSV, CASES_CSV, RunDir
from meddistill.run.tables import BoxRow, Case
from meddistill.run.true_masks import mask_path

THREE = Findings(("red", "green", "blue"))
A, B, C = (2, 2, 10), (20, 6, 8), (18, 30, 6)
# What is there, what the student sees (where that differs), and what was looked for.
PLACES: dict[str, tuple[dict[str, tuple[int, int, int]], dict[str, tuple[int, int, int]], str]] = {
    "a1": ({"red": A, "green": B}, {}, ""),
    "a2": ({"red": A}, {"blue": A}, ""),  # found as another finding
    "b1": ({"green": B, "blue": C}, {"green": B}, ""),  # blue is missed
    "b2": ({"red": A}, {"red": A, "green": B}, "red"),  # nobody looked for green
    "c1": ({}, {"blue": C}, ""),  # a false alarm
    "c2": ({}, {}, ""),
}


class ColourStudent:
    """Probability of the findings = brightness of red, green and blue."""

    def __init__(self, findings: Findings = THREE, thresholds: tuple[float, ...] = ()) -> None:
        self.preprocessing = Preprocessing(findings=findings, thresholds=thresholds)

    def predict_probs(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        places = [THREE.names.index(name) for name in self.preprocessing.findings.names]
        return [image.transpose(2, 0, 1)[places].astype(np.float32) / 255 for image in images]


def planes_of(places: dict[str, tuple[int, int, int]]) -> np.ndarray:
    """bool (3, H, W)."""
    nothing = np.zeros(SIZE_HW, dtype=bool)
    return np.stack([square(*places[name]) if name in places else nothing for name in THREE.names])


def make_findings_run(root: Path, *, with_masks: bool = True, findings: Findings = THREE) -> RunDir:
    """RUN/data with six test cases in three groups and a training case, an empty RUN/student marked
    as finished."""
    run = RunDir(root)
    cases = []
    for case_id, (there, seen, looked_for) in {**PLACES, "t1": ({"red": A}, {}, "")}.items():
        split = "train" if case_id == "t1" else "test"
        planes = planes_of(there)
        boxes = [mask_to_boxes(plane) for plane in planes]
        case = Case(
            case_id=case_id,
            split=split,
            group=case_id[0],
            class_name="",
            annotation="boxes" if there else "none",
            has_mask=with_masks,
            image=f"images/{split}/{case_id}.png",
            width=SIZE_HW[1],
            height=SIZE_HW[0],
            n_boxes=sum(map(len, boxes)),
            spacing_mm="",
            source=f"{case_id}.png",
            sha256="",
            findings=looked_for,
        )
        painted = np.where(planes_of(seen or there), 220, 30).astype(np.uint8).transpose(1, 2, 0)
        write_png(image_path(run.data, case), np.ascontiguousarray(painted))
        which = [place for place, each in enumerate(boxes) for _ in each]
        write_yolo_label(label_path(run.data, case), np.concatenate(boxes), SIZE_HW, which)
        if with_masks:
            labels = findings.encode(planes)
            write_palette_png(mask_path(run.data, case), labels, findings.palette(), "")
        cases.append(case)
    write_data_yaml(run.data, findings, {"test": "test.txt"})
    write_table(run.data / CASES_CSV, Case, cases)
    finish(run.data, "prepare")
    run.student.mkdir(parents=True)
    finish(run.student, "distill")
    return run


def add_findings_detector(run: RunDir) -> None:
    """Boxes that fit both findings of a1, and one of a2 under another name."""
    boxes = [
        BoxRow("a1", "test", 2, 2, 12, 12, 0.9, "red"),
        BoxRow("a1", "test", 6, 20, 14, 28, 0.9, "green"),
        BoxRow("a2", "test", 2, 2, 12, 12, 0.9, "green"),
    ]
    write_table(run.detector / BOXES_CSV, BoxRow, boxes)
    finish(run.detector, "detect")
