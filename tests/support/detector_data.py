"""Prepared data drawn for the detector's tests: bright discs on grey, no `prepare` needed."""

from pathlib import Path

import cv2
import numpy as np

from meddistill.base.csv_tables import write_table
from meddistill.base.files import write_json
from meddistill.data.formats.yolo_labels import write_yolo_label
from meddistill.run.images import image_path
from meddistill.run.labels import label_path
from meddistill.run.layout import CASES_CSV, RUN_JSON
from meddistill.run.tables import Case

SIZE = 64


def write_data(
    data_dir: Path, annotations: dict[str, str], size: int = SIZE, seed: int = 0
) -> list[Case]:
    """One case for each `SPLIT-NAME: annotation`; returns the cases of the prepared data folder."""
    rng = np.random.default_rng(seed)
    cases = []
    for name, annotation in annotations.items():
        split = name.split("-")[0]
        image = rng.normal(60, 8, (size, size)).clip(0, 255).astype(np.uint8)
        radius = int(rng.integers(size // 10, size // 5))
        x, y = (int(rng.integers(radius, size - radius)) for _ in range(2))
        if annotation != "none":
            cv2.circle(image, (x, y), radius, 200, -1)
        has_box = annotation == "boxes"
        case = Case(
            case_id=name,
            split=split,
            group=name,
            class_name="",
            annotation=annotation,
            has_mask=False,
            image=f"images/{split}/{name}.png",
            width=size,
            height=size,
            n_boxes=int(has_box),
            spacing_mm="",
            source=f"{name}.png",
            sha256="",
        )
        image_path(data_dir, case).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image_path(data_dir, case)), image)
        if annotation != "unknown":
            box = np.array([[x - radius, y - radius, x + radius + 1, y + radius + 1]])
            write_yolo_label(
                label_path(data_dir, case), box if has_box else np.zeros((0, 4)), (size, size)
            )
        cases.append(case)
    write_table(data_dir / CASES_CSV, Case, cases)
    write_json(
        data_dir / RUN_JSON, {"stage": "prepare", "settings": {}, "inputs": {}, "outputs": {}}
    )
    return cases
