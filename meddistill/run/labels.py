"""The boxes of a RUN's cases, as YOLO labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.base.files import write_text
from meddistill.run.tables import Case


def label_path(data_dir: Path, case: Case) -> Path:
    return data_dir / "labels" / case.split / f"{case.case_id}.txt"


def write_yolo_label(path: Path, boxes_xyxy_px: np.ndarray, size_hw: tuple[int, int]) -> None:
    """Write boxes (N, 4) in px as YOLO lines `0 cx cy w h`, normalised. No box gives an empty
    file.
    """
    height, width = size_hw
    lines = []
    for x1, y1, x2, y2 in np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 4):
        cx, cy, w, h = (
            (x1 + x2) / 2 / width,
            (y1 + y2) / 2 / height,
            (x2 - x1) / width,
            (y2 - y1) / height,
        )
        lines.append(f"0 {cx:.8f} {cy:.8f} {w:.8f} {h:.8f}\n")
    write_text(path, "".join(lines))


def read_yolo_label(path: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) float32 in px, half-open; (0, 4) for an empty file. Coordinates are rounded to
    1/100 px.

    Raises: InputError for a missing file or a line that is not five numbers.
    """
    height, width = size_hw
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a YOLO label: {error}") from error
    boxes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            _, cx, cy, w, h = (float(part) for part in line.split())
        except ValueError:
            raise InputError(
                f"{path} line {number}: expected `class cx cy w h`, got {line[:60]!r}"
            ) from None
        if not np.isfinite([cx, cy, w, h]).all():
            raise InputError(f"{path} line {number}: a coordinate is not finite")
        boxes.append(
            [
                (cx - w / 2) * width,
                (cy - h / 2) * height,
                (cx + w / 2) * width,
                (cy + h / 2) * height,
            ]
        )
    return np.round(np.array(boxes, dtype=np.float64).reshape(-1, 4), 2).astype(np.float32)


def annotated_boxes(data_dir: Path, case: Case) -> np.ndarray:
    """The boxes (N, 4) float32 px that people (or masks) gave for the case; (0, 4) where there are
    none."""
    if case.annotation != "boxes":
        return np.zeros((0, 4), dtype=np.float32)
    return read_yolo_label(label_path(data_dir, case), (case.height, case.width))
