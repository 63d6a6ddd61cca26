"""The detector: Ultralytics YOLO, trained and applied in a process of its own
(`worker_process.py`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base import console
from meddistill.data.findings import LESION, Findings
from meddistill.detector.worker_process import WorkerOptions, run_worker

SCORE_FLOOR = 0.01
"""Lowest score of a box that the measures see; far below any useful threshold."""
CANDIDATES = 50
"""Most boxes an image that the measures see."""
_BATCH_SIZE = 16
NMS_IOU = 0.5
"""Of two boxes of one finding that overlap more, the surer one is kept."""

# Small grey lesions: no colour to shift, no up or down to rely on, and no crop that would cut most
# of them off.
AUGMENTATION = {
    "hsv_h": 0.0,
    "hsv_s": 0.0,
    "hsv_v": 0.3,
    "degrees": 10.0,
    "translate": 0.1,
    "scale": 0.3,
    "fliplr": 0.5,
    "flipud": 0.5,
    "mixup": 0.0,
    "erasing": 0.0,
}


@dataclasses.dataclass(frozen=True)
class Detections:
    """Boxes of one image: `boxes_xyxy_px` (N, 4) float32 half-open, `confidence` (N,) falling,
    `class_names` (N)."""

    boxes_xyxy_px: np.ndarray
    confidence: np.ndarray
    class_names: tuple[str, ...]

    def of(self, name: str) -> Detections:
        """Those of one class."""
        kept = np.array([each == name for each in self.class_names], dtype=bool)
        names = tuple(each for each in self.class_names if each == name)
        return Detections(self.boxes_xyxy_px[kept], self.confidence[kept], names)

    def above(self, confidence: float, limit: int) -> Detections:
        """The surest `limit` boxes of at least `confidence`."""
        kept = min(int(np.count_nonzero(self.confidence >= confidence)), limit)
        return Detections(
            self.boxes_xyxy_px[:kept], self.confidence[:kept], self.class_names[:kept]
        )


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """What `train_detector` varies; see `settings.detect.DetectConfig` for the meaning.
    `keeps_sides`: whether images must not be mirrored across, and upside down."""

    epochs: int
    patience: int
    image_size: int
    batch_size: int
    mosaic: float
    lr: float
    seed: int
    keeps_sides: tuple[bool, bool] = (False, False)


def predict_boxes(
    weights: Path,
    image_paths: Sequence[Path],
    image_size: int,
    options: WorkerOptions,
    findings: Findings = LESION,
) -> list[Detections]:
    """Boxes of every image, in the order given. For one finding all classes of the network count,
    and boxes of several are merged; of several each has its own, which may overlap.

    Boxes are clipped to the image and at least one pixel wide and high. Raises: WeightsError for
    weights that are unreadable or hold code; InputError for an image that cannot be read.

    Args:
        weights: a .pt file.
        image_paths: pictures as `prepare` writes them.
        image_size: side of the network's square input, px.
        options: how its process runs.
        findings: what is looked for.
    """
    found: dict[int, Detections] = {}
    job = {
        "weights": str(weights),
        "images": [str(path) for path in image_paths],
        "image_size": image_size,
        "floor": SCORE_FLOOR,
        "nms_iou": NMS_IOU,
        "max_boxes": CANDIDATES * len(findings),
        "all_are_one": findings.is_one,
        "batch_size": _BATCH_SIZE,
    }
    with console.progress("boxes", len(image_paths)) as bar:
        for event in run_worker({"train": None, "predict": job}, options, weights):
            if event["event"] == "boxes":
                found[event["index"]] = _detections(event["boxes"])
                bar.advance()
    return [found[index] for index in range(len(image_paths))]


def train_detector(
    view: Path,
    weights_dir: Path,
    start: str,
    settings: TrainingSettings,
    options: WorkerOptions,
    looked_for: Mapping[str, Sequence[bool]] | None = None,
) -> dict[str, Any]:
    """Train; the result is `weights_dir/best.pt`. Returns `epochs` run in all and `device` by name.

    An interrupted training goes on after its last whole epoch (`weights_dir/last.pt`).

    Args:
        view: what `write_training_view` made.
        weights_dir: where best.pt and last.pt go.
        start: a .pt file, or the name of a network's yaml to begin from random weights.
        settings: what changes the result.
        options: how its process runs.
        looked_for: where not everything was looked for everywhere, of each image in the view which
            findings were: of the others an image teaches nothing.
    """
    job: dict[str, Any] = {
        "data": str(view / "data.yaml"),
        "start": start,
        "weights_dir": str(weights_dir),
        "save_dir": str(view / "training"),
        "settings": _ultralytics_settings(settings),
        "looked_for": looked_for,
    }
    if looked_for:  # of four images in one nobody would know which were looked for
        job["settings"] = {**job["settings"], "mosaic": 0.0}
    outcome: dict[str, Any] = {"epochs": 0, "device": options.device}
    with console.progress("detector", settings.epochs) as bar:
        weights = Path(start) if start.endswith(".pt") else None
        for event in run_worker({"train": job, "predict": None}, options, weights):
            if event["event"] == "device":
                outcome["device"] = event["name"]
            elif event["event"] == "resumed":
                bar.resume(event["epoch"])
                outcome["epochs"] = event["epoch"]
            elif event["event"] == "epoch":
                bar.note(f"loss {event['loss']:.2f}, mAP50 {event['map50']:.2f}")
                bar.advance(event["epoch"] - outcome["epochs"])
                outcome["epochs"] = event["epoch"]
    return outcome


def _ultralytics_settings(settings: TrainingSettings) -> dict[str, Any]:
    return {
        **AUGMENTATION,
        **{
            flip: 0.0
            for flip, keeps in zip(("fliplr", "flipud"), settings.keeps_sides, strict=True)
            if keeps
        },
        "epochs": settings.epochs,
        "patience": settings.patience,
        "imgsz": settings.image_size,
        "batch": settings.batch_size,
        "nbs": settings.batch_size,
        "seed": settings.seed,
        "mosaic": settings.mosaic,
        "close_mosaic": max(1, settings.epochs // 3),
        "optimizer": "AdamW",
        "lr0": settings.lr,
        "cos_lr": True,
        "warmup_epochs": min(3.0, settings.epochs / 10),
        "warmup_bias_lr": 0.0,
        "momentum": 0.9,
        # Mixed precision makes Ultralytics download a network to try it on.
        "amp": False,
        "deterministic": True,
        "workers": 4,
        "plots": False,
        "exist_ok": True,
    }


def _detections(rows: list[list[Any]]) -> Detections:
    boxes = np.array([row[:4] for row in rows], dtype=np.float32).reshape(-1, 4)
    kept = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
    confidence = np.array([row[4] for row in rows], dtype=np.float64)
    names = tuple(row[5] for row, keep in zip(rows, kept, strict=True) if keep)
    return Detections(np.round(boxes[kept], 2), confidence[kept], names)
