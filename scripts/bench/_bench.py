"""What the parts of `run.py` have in common: pairs that take turns, data, networks and teachers; does
nothing by itself."""

from __future__ import annotations

import argparse
import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baselines import BareStep
from lightning_fabric import Fabric
from teacher import random_teacher

from meddistill.data.findings import LESION, Findings
from meddistill.data.frames import Preprocessing
from meddistill.data.sources.phantom import draw_slice
from meddistill.settings.distill import DistillConfig
from meddistill.student.networks.student_network import StudentNetwork
from meddistill.student.student import build_student
from meddistill.teachers.loading import load_teacher
from meddistill.teachers.teacher import Teacher
from meddistill.training.fabric import make_fabric, precision_of
from meddistill.training.loop import Training
from meddistill.training.packed_cases import CaseTarget, PackedCases, TrainingData

EPOCHS = 100
_WIDE = (256, 128, 64, 32, 16)  # smp's own UNet++


class Bench:
    """What every part of one run needs: its data, networks, teachers, and pairs that take turns."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.fabric = make_fabric(args.device, "auto")
        self.rng = np.random.default_rng(0)
        self.images = [
            np.repeat(draw_slice(self.rng, args.image_size)[0][..., None], 3, 2)
            for _ in range(args.images)
        ]
        side = args.image_size
        self.boxes = [
            np.array([[side * 0.4, side * 0.4, side * 0.6, side * 0.6]], np.float32)
            for _ in self.images
        ]

    @functools.cached_property
    def teacher(self) -> Teacher:
        return self._load(precision_of(self.fabric))

    @functools.cached_property
    def published_teacher(self) -> Teacher:
        return self._load("32-true")

    def _load(self, precision: str) -> Teacher:
        load = load_teacher if self.args.teacher == "litemedsam" else random_teacher
        return load(self.args.teacher, device=self.fabric.device, precision=precision)

    def turns(
        self,
        ours: Callable[[], Any],
        baseline: Callable[[], Any],
        repeats: int = 0,
        beside_baseline: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> dict[str, Any]:
        """Seconds of both in turns, and how many times faster ours is."""
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(repeats or self.args.repeats):
            # Who goes first changes, so that a machine that warms up or slows down favours nobody.
            for which in (0, 1) if turn % 2 else (1, 0):
                with (nullcontext, beside_baseline)[which]():
                    times[which].append(self.timed((ours, baseline)[which]))
        ratios = [base / our for our, base in zip(*times, strict=True)]
        return {
            "ours_s": statistics.median(times[0]),
            "baseline_s": statistics.median(times[1]),
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
        }

    def timed(self, work: Callable[[], Any]) -> float:
        started = time.perf_counter()
        work()
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    def student(self, findings: int = 1) -> StudentNetwork:
        """The network that `--student` names, with random weights."""
        torch.manual_seed(0)
        default = DistillConfig()
        return build_student(
            "nested_unet" if self.args.student == "nested_unet" else default.student,
            encoder=default.encoder,
            encoder_weights="none",
            decoder_channels=_WIDE if self.args.student == "wide" else (),
            findings=findings,
        )

    def training(
        self, out: Path, findings: Findings = LESION, fabric: Fabric | None = None
    ) -> tuple[Training, BareStep]:
        """A training run on random targets, and a bare step of a network like its own."""
        args, count = self.args, len(findings)
        settings = DistillConfig(
            encoder_weights="none",
            batch_size=args.batch_size,
            image_size=args.image_size,
            epochs=EPOCHS,
            feature_weight=0.0,
        )
        module = self.student(count)
        preprocessing = Preprocessing(
            args.image_size, *module.preprocessing_mean_std, findings=findings
        )
        data = self.random_targets(args.image_size, findings)
        run, twin = (
            Training(network, data, preprocessing, settings, fabric or self.fabric, out, 0)
            for network in (module, self.student(count))
        )
        network = twin.learner.network.train()
        return run, BareStep(network, settings, preprocessing, precision_of(self.fabric))

    def random_targets(self, side: int, findings: Findings = LESION) -> TrainingData:
        """Four batches of sample slices in frames of `side` px, with a square in each target."""
        names, count = [str(number) for number in range(self.args.batch_size * 4)], len(findings)
        packed = PackedCases(names, side, findings=count)
        for index in range(len(packed)):
            probs = np.zeros((count, side, side), np.float32)
            probs[:, 20:60, 20:60] = 1
            image = self.images[index % len(self.images)]
            target = CaseTarget(probs, 0 * probs, weight=np.ones(count, np.float32))
            packed.put(index, image, target)
        return TrainingData(packed, PackedCases([], side, findings=count), findings=findings)

    def epoch(self, run: Training) -> None:
        run.state.epoch, run.state.step = run.state.epoch + 1, 0
        run.epoch_trainer.train(lambda: None, lambda text: None)

    def beside_a_busy_process(self, name: str, work: Callable[[], Any]) -> dict[str, Any]:
        work()
        found = self.turns(work, work, beside_baseline=busy_process)
        return found | {"what": f"{name} on free cores against one of them busy"}


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process that computes without a pause, as long as the block lasts."""
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()
