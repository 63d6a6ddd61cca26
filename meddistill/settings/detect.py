"""Settings of `meddistill detect`: each field with its unit, default and effect."""

from __future__ import annotations

import dataclasses
from typing import Optional

from meddistill.settings.checks import (
    LARGEST_FRAME,
    check_at_least,
    check_choice,
    check_numbers,
    check_range,
    check_step,
)
from meddistill.settings.flips import FLIPS
from meddistill.settings.roles import CONTENT, NOTHING, RESULT, TRAINING, setting

# OmegaConf reads annotations at run time and knows Optional[float], not every spelling of `float |
# None`.
# ruff: noqa: UP045


@dataclasses.dataclass(frozen=True)
class DetectConfig:
    """Settings of `meddistill detect`."""

    weights: str = setting("yolo11n.pt", CONTENT)
    """Detector to start from: a .pt file, or an official name that is looked for locally, then
    downloaded once."""
    train: bool = setting(True, RESULT)
    """Train it; false takes a pretrained detector as it is."""
    empty_slices: float = setting(0.1, TRAINING, before=1.0)
    """Seeded share of a volume's training slices without a finding that is drawn for training."""
    epochs: int = setting(60, TRAINING)
    """Passes over the annotated training cases."""
    patience: int = setting(20, TRAINING)
    """Epochs without a better validation score before training stops."""
    image_size: int = setting(256, RESULT)
    """Side of the detector's square input, px."""
    batch_size: int = setting(16, TRAINING)
    """Images a training step."""
    lr: float = setting(1e-3, TRAINING)
    """AdamW step size at the start of the cosine decay."""
    mosaic: float = setting(0.5, TRAINING)
    """Share of training images that are four images in one; off in the last third of the epochs."""
    flips: str = setting("auto", TRAINING, before="auto")
    """Mirror images that training sees, as `distill.flips`."""
    trust_weights: bool = setting(False, NOTHING)
    """Load `weights` even where that runs code inside the file; only for files whose origin you
    know."""
    confidence: Optional[float] = setting(None, RESULT)
    """Boxes below this score are dropped; empty = the lowest within 0.03 of the best F1 at IoU 0.5
    on validation."""
    max_boxes: int = setting(5, RESULT)
    """Most boxes kept an image."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_at_least(self, 1, "epochs", "batch_size", "max_boxes")
        check_at_least(self, 0, "patience")
        check_range(self, 32, LARGEST_FRAME, "image_size")
        check_range(self, 0.0, 1.0, "mosaic", "confidence", "empty_slices")
        check_step(self, "lr")
        check_choice(self, "flips", FLIPS)
