"""Where the boxes of a RUN's cases lie, as YOLO labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meddistill.data.formats.yolo_labels import read_yolo_label
from meddistill.run.tables import Case


def label_path(data_dir: Path, case: Case) -> Path:
    return data_dir / f"labels/{case.split}/{case.case_id}.txt"


def annotated_boxes(data_dir: Path, case: Case) -> np.ndarray:
    """The boxes (N, 4) float32 px that people (or masks) gave for the case; (0, 4) where there are
    none."""
    return annotated_findings(data_dir, case)[0]


def annotated_findings(data_dir: Path, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (N, 4) of `annotated_boxes`, and the place of each one's finding, (N,) int64."""
    if case.annotation != "boxes":
        return np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64)
    return read_yolo_label(label_path(data_dir, case), (case.height, case.width))
