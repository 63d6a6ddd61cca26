"""What `scripts/bench/run.py` compares with: the published loop, a bare training step, plain loops
of libraries.

It is imported there, needs nothing and does nothing by itself; to see it at work:

    .venv/bin/python scripts/bench/run.py --only a
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from medpy.metric import binary
from torch import Tensor, nn

from meddistill.data.frames import Preprocessing
from meddistill.settings.distill import DistillConfig
from meddistill.teachers.teacher import Teacher, autocast
from meddistill.training.averaging import MovingAverage
from meddistill.training.optimiser_step import MAX_GRADIENT_NORM
from meddistill.training.packed_cases import Batch
from meddistill.training.step import DistillModel, distill_step


def metrics_in_a_loop(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """The metrics that we report, by medpy on whole images, one call each."""
    for pred, target in pairs:
        for metric in (
            binary.dc,
            binary.jc,
            binary.sensitivity,
            binary.precision,
            binary.specificity,
        ):
            metric(pred, target)
        for distance in (binary.hd, binary.hd95, binary.assd):
            distance(pred, target)


class BareStep:
    """A training step as one would write it by hand: the same network, losses and optimiser,
    nothing counted."""

    def __init__(
        self,
        model: DistillModel,
        settings: DistillConfig,
        preprocessing: Preprocessing,
        precision: str,
    ) -> None:
        self.model, self.settings, self.preprocessing, self.precision = (
            model,
            settings,
            preprocessing,
            precision,
        )
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        self.average = MovingAverage(model.student, settings.ema_decay)

    def __call__(self, batch: Batch, cached_view: Tensor) -> None:
        with autocast(batch.images.device, self.precision):
            losses = distill_step(
                self.model,
                self.model.weighting,
                batch,
                cached_view,
                self.preprocessing,
                self.settings,
            )
        losses.total.mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.model.student)


class PublishedStep:
    """A step of the published loop: detector and teacher run for every image of every epoch, batch
    size 1.

    The detector's boxes prompt the teacher; cross-entropy to its soft mask, squared error of
    probabilities, and a third term between the teacher's features and the student's logits, each
    resized to the other's raster; Adam.
    """

    def __init__(
        self,
        detect: Callable[[np.ndarray], Any],
        teacher: Teacher,
        student: nn.Module,
        image_size: int,
        precision: str,
    ) -> None:
        self.detect, self.teacher, self.student = detect, teacher, student
        self.image_size, self.precision = image_size, precision
        self.optimizer = torch.optim.Adam(student.parameters(), lr=1e-4)

    def __call__(self, image: np.ndarray, boxes: np.ndarray) -> None:
        self.detect(image)  # an untrained detector's boxes are none: `boxes` stand for them
        encoded = self.teacher.encode([image])
        logits = self.teacher.decode(encoded, [boxes])[0].logits
        size = (self.image_size, self.image_size)
        target = F.interpolate(
            torch.sigmoid(logits).amax(0)[None, None].clone(), size, mode="bilinear"
        )
        frame = torch.from_numpy(image).permute(2, 0, 1)[None].float().to(target.device) / 127.5 - 1
        frame = F.interpolate(frame, size, mode="bilinear")
        with autocast(target.device, self.precision):
            out = self.student(frame)
        features = next(iter(encoded.features.values())).clone().mean(1, keepdim=True)
        third = F.mse_loss(F.interpolate(out, features.shape[-2:], mode="bilinear"), features)
        loss = (
            F.binary_cross_entropy_with_logits(out, target)
            + F.mse_loss(torch.sigmoid(out), target)
            + 0.4 * third
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
