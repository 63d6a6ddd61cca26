"""How long a step of training takes here, for the study of the ceiling. No study of its own."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meddistill.data.frames import Preprocessing
from meddistill.settings.distill import DistillConfig
from meddistill.student.student import build_student
from meddistill.training.fabric import make_fabric
from meddistill.training.loop import Training
from meddistill.training.packed_cases import CaseTarget, PackedCases, TrainingData

TIMED_STEPS = 5


def step_seconds(distill: DistillConfig, device: str) -> float:
    """Of an optimiser step on random targets, views and features included: processor time over the
    threads, which other jobs on the machine change little; on a GPU wall time."""
    settings = dataclasses.replace(distill, encoder_weights="none", epochs=1)
    side, count = settings.image_size, settings.batch_size
    features = {"embedding": (128, 32, 32)} if settings.feature_weight else {}
    packed = PackedCases([str(number) for number in range(count)], side, features)
    rng = np.random.default_rng(0)
    for place in range(count):
        probs = np.zeros((side, side), np.float32)
        probs[side // 3 : side // 2, side // 3 : side // 2] = 1
        image = np.repeat(rng.integers(0, 256, (side, side, 1), np.uint8), 3, 2)
        maps = {name: np.ones(shape, np.float16) for name, shape in features.items()}
        packed.put(place, image, CaseTarget(probs, 0 * probs, features=maps))
    fabric = make_fabric(device, settings.precision)
    module = build_student(
        settings.student,
        encoder=settings.encoder,
        encoder_weights="none",
        decoder_channels=settings.decoder_channels,
    )
    preprocessing = Preprocessing(side, *module.preprocessing_mean_std)
    on_gpu = fabric.device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        data = TrainingData(packed, PackedCases([], side))
        run = Training(module, data, preprocessing, settings, fabric, Path(folder), 0)
        run.learner.model.train()
        draw = next(run.source.draws(0))
        take = functools.partial(run.step.take, draw)
        return _timed(take, torch.cuda.synchronize if on_gpu else None)


def _timed(take: Any, wait: Any) -> float:
    clock = time.perf_counter if wait else time.process_time
    seconds = []
    for number in range(2 + TIMED_STEPS):
        began = clock()
        take()
        if wait:
            wait()
        if number >= 2:  # the first ones warm up
            seconds.append(clock() - began)
    return statistics.median(seconds) / (1 if wait else torch.get_num_threads())
