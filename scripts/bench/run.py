"""How fast the pipeline is beside what one would compare it with, in pairs measured in one run.

Needs nothing: it draws its data. Takes about ten minutes on two CPU cores.

    python scripts/bench/run.py                            # all parts: about ten minutes on two CPU cores
    python scripts/bench/run.py --only a --teacher sam2.1-tiny --student nested_unet
    python scripts/bench/run.py --only b,c --batch-size 64 --device cuda --json out.json
    python scripts/bench/run.py --gpu-suite --device cuda  # all GPU figures: at most eight minutes

Each pair takes turns, `--repeats` times; a ratio is the median over the turns, with the lowest and
highest. Data are sample slices drawn for the purpose. Parts:
 a  100 epochs of distillation against the published loop (detector and teacher run for every image of every epoch,
    batch size 1), extrapolated from measured passes and steps; and our whole against teacher pass + bare steps
 b  training images/s with the real loader and augmentation, against the same step on a batch that is there already
 c  a training step against a bare one without our bookkeeping (same network, losses, optimiser)
 d  teacher images/s, in batches with all boxes in one call, against one box at a time
 e  metrics, cases/s at 512 px, against medpy on whole images in a loop
 f  prepare, images/s on all cores, against a plain loop in one process
 g  seconds until `meddistill --help` is printed
 h  a bare training step against the time that the processor's matrix product needs for the same operations: the share
    of that throughput which the step reaches, and the operators that its time goes into
 i  training on cores that are free, against the same with one other process busy on one of them
 j  the same of a prediction by the student, one image at a time
 k  the same of the teacher, one image with all boxes in one call
 l  training of three findings, against the same of one
 n  a training step in the precision that `distill.precision=auto` chooses here, against one in the other
 m  a training step of each size (`distill.size`), with its parameters, against one of `standard`

For i to k, `GOMP_SPINCOUNT=300000 python scripts/bench/run.py --only i,j,k` has OpenMP's threads
wait as they would without our setting (`meddistill/base/cores.py`).
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from meddistill.base import console  # before torch: how threads wait is settled here

# isort: split
import numpy as np
import torch
from _gpu_suite import run_suite
from baselines import BareStep, PublishedStep, metrics_in_a_loop
from lightning_fabric import Fabric
from teacher import random_teacher
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile
from torch.utils.flop_counter import FlopCounterMode

from meddistill.data.findings import LESION, Findings
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import Preprocessing
from meddistill.data.sources.phantom import draw_slice
from meddistill.evaluation.metrics import score_case
from meddistill.settings.distill import DistillConfig
from meddistill.settings.layers import load_config
from meddistill.settings.presets import PRESETS
from meddistill.settings.targets import TargetsConfig
from meddistill.student.networks.student_network import StudentNetwork
from meddistill.student.student import Student, build_student
from meddistill.targets.asking import Question, ask_teacher, jittered_boxes
from meddistill.teachers.loading import load_teacher
from meddistill.teachers.teacher import Teacher
from meddistill.training.batches import Draw, ShuffledCases
from meddistill.training.fabric import make_fabric, precision_of
from meddistill.training.loop import Training
from meddistill.training.packed_cases import Batch, CaseTarget, PackedCases, TrainingData

EPOCHS = 100
WIDE = (256, 128, 64, 32, 16)  # smp's own UNet++
PARTS = "abcdefghijklmn"
MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}


class BatchThere(ShuffledCases):
    """Gives the same batch for every draw."""

    def __init__(self, there: Batch) -> None:
        self.there = there

    def batch(self, draw: Draw) -> Batch:
        return self.there


class Bench:
    """The measurements of one run; each returns a row: what, ours, baseline (seconds), ratio with
    spread."""

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
            decoder_channels=WIDE if self.args.student == "wide" else (),
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

    def sizes(self, out: Path) -> dict[str, dict[str, Any]]:
        """A row for each preset but `standard`, which is what they are compared with."""
        steps, facts = {}, {}
        for size in PRESETS:
            settings = load_config(
                None,
                {"distill.size": size, "distill.batch_size": self.args.batch_size},
                ["distill.encoder_weights=none", "distill.feature_weight=0"],
            ).distill
            torch.manual_seed(0)
            module = build_student(
                settings.student, encoder=settings.encoder, encoder_weights="none"
            )
            preprocessing = Preprocessing(settings.image_size, *module.preprocessing_mean_std)
            data = self.random_targets(settings.image_size)
            run = Training(module, data, preprocessing, settings, self.fabric, out, 0)
            run.learner.model.train()
            draw = next(run.source.draws(0))
            steps[size] = functools.partial(run.step.take, draw)
            parameters = sum(each.numel() for each in module.parameters())
            facts[size] = {
                "parameters": parameters,
                "what": f"a training step of size {size}, {parameters / 1e6:.2f} M parameters, "
                f"{settings.image_size} px, batch {len(draw)}, against one of standard",
            }
            for _ in range(2):
                steps[size]()
        compared = [size for size in PRESETS if size != "standard"]
        return {
            f"m-{size}": self.turns(steps[size], steps["standard"]) | facts[size]
            for size in compared
        }

    def n(self, out: Path) -> dict[str, Any]:
        chosen = precision_of(self.fabric)
        other = "32-true" if chosen == "bf16-mixed" else "bf16-mixed"
        steps = []
        for precision in (chosen, other):
            run = self.training(out, fabric=make_fabric(self.args.device, precision))[0]
            run.learner.model.train()
            steps.append(functools.partial(run.step.take, next(run.source.draws(0))))
            steps[-1]()
        what = f"training step in {chosen} against {other}, {self.args.batch_size} images"
        return self.turns(*steps) | {"what": what}

    def b_and_c(self, out: Path) -> dict[str, dict[str, Any]]:
        run, bare = self.training(out)
        run.learner.model.train()
        size, steps = self.args.batch_size, run.source.steps_per_epoch
        batch = run.train.batch(torch.arange(size))
        view = torch.zeros(size, dtype=torch.bool, device=self.fabric.device)
        draw = Draw(torch.arange(size, device=self.fabric.device), view)

        def epoch() -> None:
            self._epoch(run)

        def there() -> None:
            run.step.source = BatchThere(batch)
            for _ in range(steps):
                run.step.take(draw)
            run.step.source = run.source

        def bare_steps() -> None:
            for _ in range(steps):
                bare(batch, view)

        for warm in (epoch, there, bare_steps):
            warm()
        b = self.turns(epoch, there)
        c = self.turns(there, bare_steps)
        for row in (b, c):
            row["images_per_s"] = size * steps / row["ours_s"]
        b["what"] = f"training with the loader against a batch that is there, {size} images a step"
        c["what"] = "training step against a bare one"
        return {"b": b, "c": c}

    def of_findings(self, out: Path) -> dict[str, Any]:
        several = Findings(("first", "second", "third"))
        (three, _), (one, _) = self.training(out, several), self.training(out)
        for run in (three, one):
            run.learner.model.train()
            self._epoch(run)
        found = self.turns(lambda: self._epoch(three), lambda: self._epoch(one))
        images = self.args.batch_size * three.source.steps_per_epoch
        what = f"training of three findings against one, {self.args.batch_size} images a step"
        return found | {"what": what, "images_per_s": images / found["ours_s"]}

    def h(self, out: Path) -> dict[str, Any]:
        run, bare = self.training(out)
        size, device = self.args.batch_size, self.fabric.device
        batch, view = (
            run.train.batch(torch.arange(size)),
            torch.zeros(size, dtype=torch.bool, device=device),
        )
        side = MATRIX_SIDE[device.type]
        kind = torch.bfloat16 if precision_of(self.fabric) == "bf16-mixed" else torch.float32
        left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))

        def step() -> None:
            bare(batch, view)

        def products() -> None:
            for _ in range(10):
                left @ right

        step()
        with FlopCounterMode(display=False) as counted:
            step()
        for work in (step, products):
            work()
        found = self.turns(step, products)
        operations, rate = counted.get_total_flops(), 10 * 2 * side**3 / found["baseline_s"]
        for name in ("ratio", "low", "high"):
            found[name] *= operations / (10 * 2 * side**3)
        found |= {
            "baseline_s": operations / rate,
            "operations": operations,
            "operations_per_s": rate,
        }
        what = f"training step of {size} images against its operations in a matrix product ({rate / 1e12:.3g} TFLOP/s)"
        return found | {"what": what, "profile": self._profile(step, found["ours_s"])}

    def _profile(self, step: Callable[[], None], seconds: float) -> dict[str, Any]:
        """Seconds of a step by operator, of the device itself; how many kernels; how much of the
        step they fill."""
        on_device = self.fabric.device.type == "cuda"
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]
        with torch_profile(activities=kinds) as profiler:
            self.timed(step)
        times: dict[str, float] = {}
        kernels = 0
        for event in profiler.events() or []:
            if on_device and event.device_type == DeviceType.CUDA:
                kernels += 1
            elif event.name.startswith("aten::"):
                own = event.self_device_time_total if on_device else event.self_cpu_time_total
                times[event.name] = times.get(event.name, 0.0) + own / 1e6
        busy = sum(times.values())
        largest = dict(sorted(times.items(), key=lambda item: -item[1])[:10])
        return {
            "operators_s": largest,
            "busy_s": busy,
            "busy_share": busy / seconds,
            "kernels": kernels,
        }

    def d(self) -> dict[str, Any]:
        config = TargetsConfig(jitter_copies=8, views="whole")
        side = self.args.image_size
        images, boxes = self.images[:4], self.boxes[:4]
        all_boxes = [
            jittered_boxes(each, (side, side), 8, 0.1, str(n), 0) for n, each in enumerate(boxes)
        ]

        def batched() -> None:
            ask_teacher(
                self.teacher,
                [Question(*pair, side) for pair in zip(images, all_boxes, strict=True)],
                config,
                whole=True,
            )

        def one_by_one() -> None:
            for image, copies in zip(images, all_boxes, strict=True):
                encoded = self.teacher.encode([image])
                for box in copies.reshape(-1, 4):
                    self.teacher.decode(encoded, [box[None]])

        batched()
        return self.turns(batched, one_by_one) | {
            "what": f"{self.teacher.name}: 9 boxes an image at once, one by one"
        }

    def a(self, out: Path) -> dict[str, Any]:
        os.environ |= {"YOLO_CONFIG_DIR": str(out), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
        wanted = torch.get_num_threads()
        from ultralytics import YOLO

        torch.set_num_threads(wanted)
        args, side = self.args, self.args.image_size
        run, bare = self.training(out)
        run.learner.model.train()
        batch = run.train.batch(torch.arange(args.batch_size))
        view = torch.zeros(args.batch_size, dtype=torch.bool, device=self.fabric.device)
        detector = YOLO("yolo11n.yaml")
        network = self.student().to(self.fabric.device)

        def detect(image: np.ndarray) -> None:
            detector.predict(image, imgsz=side, verbose=False, device=args.device)
            torch.set_num_threads(wanted)  # Ultralytics takes it down to one, for the whole process

        published = PublishedStep(detect, self.published_teacher, network, side, "32-true")
        # `v` from the box, 8 copies, whole view: what our pass costs an image.
        config = TargetsConfig(jitter_copies=8, views="whole")
        boxes = jittered_boxes(self.boxes[0], (side, side), 8, 0.1, "0", 0)
        two = [Question(image, boxes, side) for image in self.images[:2]]
        works: dict[str, tuple[Callable[[], Any], int]] = {
            "teacher": (lambda: ask_teacher(self.teacher, two, config, whole=True), 2),
            "epoch": (lambda: self._epoch(run), len(run.train)),
            "bare": (lambda: bare(batch, view), args.batch_size),
            "published": (lambda: published(self.images[0], self.boxes[0]), 1),
        }
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for work, _ in works.values():
            work()
        for _ in range(args.repeats):
            for name, (work, images) in works.items():
                seconds[name].append(self.timed(work) / images)
        turns = [
            dict(zip(works, each, strict=True)) for each in zip(*seconds.values(), strict=True)
        ]
        ratios = [t["published"] * EPOCHS / (t["teacher"] + EPOCHS * t["epoch"]) for t in turns]
        overheads = [
            (t["teacher"] + EPOCHS * t["epoch"]) / (t["teacher"] + EPOCHS * t["bare"])
            for t in turns
        ]
        per_image = {name: statistics.median(values) for name, values in seconds.items()}
        return {
            "what": f"{EPOCHS} epochs an image (extrapolated): {self.teacher.name}, {args.student}",
            "ours_s": per_image["teacher"] + EPOCHS * per_image["epoch"],
            "baseline_s": per_image["published"] * EPOCHS,
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "overhead": statistics.median(overheads),
            "seconds_an_image": per_image,
        }

    def _epoch(self, run: Training) -> None:
        run.state.epoch, run.state.step = run.state.epoch + 1, 0
        run.epoch_trainer.train(lambda: None, lambda text: None)

    def e(self) -> dict[str, Any]:
        rows, columns = np.mgrid[:512, :512]
        pairs = []
        for _ in range(self.args.images):
            y, x, r = (
                self.rng.uniform(150, 350),
                self.rng.uniform(150, 350),
                self.rng.uniform(15, 60),
            )
            pairs.append(
                (
                    (rows - y) ** 2 + (columns - x) ** 2 < r**2,
                    (rows - y - 3) ** 2 + (columns - x + 2) ** 2 < r**2,
                )
            )
        found = self.turns(
            lambda: [score_case(*pair) for pair in pairs], lambda: metrics_in_a_loop(pairs)
        )
        return found | {"what": "metrics at 512 px against medpy on whole images"}

    def f(self, scratch: Path) -> dict[str, Any]:
        source, number = scratch / "source", 0
        self._write_pictures(source)

        def ours() -> None:
            nonlocal number
            number += 1
            command = [
                "prepare",
                scratch / f"run-{number}",
                "--source",
                source,
                "--dataset",
                "folder",
            ]
            _python("-m", "meddistill", "-q", *command)

        # Processes of their own: a worker of `prepare` imports what its parent's script imports.
        plain = Path(__file__).with_name("plain_prepare.py")
        found = self.turns(ours, lambda: _python(plain, source, scratch / "plain"), repeats=3)
        return found | {
            "what": f"prepare of {self.args.prepared} pictures of 512 px against a plain loop"
        }

    def i(self, out: Path) -> dict[str, Any]:
        run, _ = self.training(out)
        run.learner.model.train()
        return self._beside_a_busy_process("training", lambda: self._epoch(run))

    def j(self) -> dict[str, Any]:
        module = self.student()
        preprocessing = Preprocessing(self.args.image_size, *module.preprocessing_mean_std)
        student = Student(module, preprocessing, self.fabric.device)

        def predict() -> None:
            for image in self.images:
                student.predict(image)

        return self._beside_a_busy_process("prediction", predict)

    def k(self) -> dict[str, Any]:
        side = self.args.image_size
        boxes = jittered_boxes(self.boxes[0], (side, side), 8, 0.1, "0", 0)
        questions = [Question(self.images[0], boxes, side)]
        config = TargetsConfig(jitter_copies=8, views="whole")
        work = functools.partial(ask_teacher, self.teacher, questions, config, whole=True)
        return self._beside_a_busy_process(self.teacher.name, work)

    def _beside_a_busy_process(self, name: str, work: Callable[[], Any]) -> dict[str, Any]:
        work()
        found = self.turns(work, work, beside_baseline=busy_process)
        return found | {"what": f"{name} on free cores against one of them busy"}

    def _write_pictures(self, source: Path) -> None:
        """A folder of slices with masks: a few are drawn, a second each, the rest are shifted,
        mirrored and noisy."""
        drawn = [draw_slice(self.rng, 512) for _ in range(12)]
        for number in range(self.args.prepared):
            image, mask, _ = drawn[number % len(drawn)]
            shift, turn = self.rng.integers(0, 512, 2), (-1) ** self.rng.integers(0, 2, 2)
            image, mask = (
                np.roll(pixels, shift, (0, 1))[:: turn[0], :: turn[1]] for pixels in (image, mask)
            )
            noisy = np.clip(image + self.rng.integers(-3, 4, image.shape), 0, 255)
            write_png(source / "images" / f"{number:05d}.png", noisy.astype(np.uint8))
            write_png(
                source / "masks" / f"{number:05d}.png", np.ascontiguousarray(mask) * np.uint8(255)
            )

    def g(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "meddistill", "--help"]
        found = self.turns(
            lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True),
            lambda: subprocess.run(
                [sys.executable, "-c", "import typer.rich_utils, rich.markdown"], check=True
            ),
        )
        return found | {"what": "meddistill --help against the import of Typer and Rich alone"}


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


def _python(*words: object) -> None:
    subprocess.run(
        [sys.executable, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, such as b,c (default: all)")
    parser.add_argument(
        "--teacher", default="litemedsam", help="litemedsam, or a SAM 2 with random weights"
    )
    parser.add_argument(
        "--student",
        default="default",
        choices=("default", "wide", "nested_unet"),
        help="network; wide: smp's own UNet++ decoder",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")
    parser.add_argument("--images", type=int, default=8, help="sample images (default: 8)")
    parser.add_argument(
        "--prepared", type=int, default=1200, help="pictures of part f (default: 1200)"
    )
    parser.add_argument(
        "--image-size", type=int, default=256, help="side of the frame, px (default: 256)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=8, help="images a training step (default: 8)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns of each pair (default: 5)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--gpu-suite",
        action="store_true",
        help="measure all figures of speed.md's GPU part, a file each in --out; typed again, go on",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/gpu_suite"),
        help="folder of the suite's figures (default: runs/gpu_suite)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=8.0,
        help="no figure of the suite is begun after this time (default: 8)",
    )
    args = parser.parse_args()
    console.set_quiet(True)
    if args.gpu_suite:
        for told in run_suite(args, measure):
            show(told, told["name"])
        return
    told = measure(args)
    show(told)
    if args.json:
        args.json.write_text(json.dumps(told, indent=2) + "\n")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The parts that `--only` names: `about` and `rows`, by part."""
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench, wanted = Bench(args), args.only.split(",")
        if "b" in wanted or "c" in wanted:
            rows |= {
                name: row for name, row in bench.b_and_c(Path(folder)).items() if name in wanted
            }
        for name in wanted:
            if name == "m":
                rows |= bench.sizes(Path(folder))
            elif name == "l":
                rows[name] = bench.of_findings(Path(folder))
            elif name in "afhin":
                rows[name] = getattr(bench, name)(Path(folder))
            elif name in "degjk":
                rows[name] = getattr(bench, name)()
    device = (
        torch.cuda.get_device_name()
        if args.device.startswith("cuda")
        else platform.processor() or platform.machine()
    )
    about = {
        "date": datetime.date.today().isoformat(),
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "arguments": {name: str(value) for name, value in vars(args).items()},
    }
    return {"about": about, "rows": dict(sorted(rows.items()))}


def show(told: dict[str, Any], title: str = "") -> None:
    """Print the figures as a Markdown table."""
    about, rows = told["about"], told["rows"]
    where = f"{about['date']}, {about['device']}, {about['threads']} thread(s)"
    print(f"{title}{': ' if title else ''}{where}, torch {about['torch']}\n")
    print("| | ours, s | baseline, s | baseline / ours [lowest, highest] |\n|---|---|---|---|")
    for name, row in rows.items():
        ratio = f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        print(f"| {name} {row['what']} | {row['ours_s']:.3g} | {row['baseline_s']:.3g} | {ratio} |")
    if "a" in rows:
        print(f"\nOur whole over teacher pass + bare steps: {rows['a']['overhead']:.3f}")
    if "h" in rows:
        profile = rows["h"]["profile"]
        print(
            f"\nOperators fill {profile['busy_share']:.0%} of the step ({profile['kernels']} "
            "kernels on the device):"
        )
        for name, seconds in profile["operators_s"].items():
            print(f"  {seconds / profile['busy_s']:6.1%}  {name}")


if __name__ == "__main__":
    main()
