"""Parts of `run.py` in which the teacher is asked (a, d, k); does nothing by itself."""

from __future__ import annotations

import functools
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import EPOCHS, Bench
from baselines import PublishedStep

from meddistill.settings.targets import TargetsConfig
from meddistill.targets.asking import Question, ask_teacher, jittered_boxes


def whole_distillation(bench: Bench, out: Path) -> dict[str, Any]:
    """Part a: all epochs of an image, and those of the published loop."""
    os.environ |= {"YOLO_CONFIG_DIR": str(out), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    wanted = torch.get_num_threads()
    from ultralytics import YOLO

    torch.set_num_threads(wanted)
    args, side = bench.args, bench.args.image_size
    run, bare = bench.training(out)
    run.learner.model.train()
    batch = run.train.batch(torch.arange(args.batch_size))
    view = torch.zeros(args.batch_size, dtype=torch.bool, device=bench.fabric.device)
    detector = YOLO("yolo11n.yaml")
    network = bench.student().to(bench.fabric.device)

    def detect(image: np.ndarray) -> None:
        detector.predict(image, imgsz=side, verbose=False, device=args.device)
        torch.set_num_threads(wanted)  # Ultralytics takes it down to one, for the whole process

    published = PublishedStep(detect, bench.published_teacher, network, side, "32-true")
    # `v` from the box, 8 copies, whole view: what our pass costs an image.
    config = TargetsConfig(jitter_copies=8, views="whole")
    boxes = jittered_boxes(bench.boxes[0], (side, side), 8, 0.1, "0", 0)
    two = [Question(image, boxes, side) for image in bench.images[:2]]
    works: dict[str, tuple[Callable[[], Any], int]] = {
        "teacher": (lambda: ask_teacher(bench.teacher, two, config, whole=True), 2),
        "epoch": (lambda: bench.epoch(run), len(run.train)),
        "bare": (lambda: bare(batch, view), args.batch_size),
        "published": (lambda: published(bench.images[0], bench.boxes[0]), 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for work, _ in works.values():
        work()
    for _ in range(args.repeats):
        for name, (work, images) in works.items():
            seconds[name].append(bench.timed(work) / images)
    turns = [dict(zip(works, each, strict=True)) for each in zip(*seconds.values(), strict=True)]
    ratios = [t["published"] * EPOCHS / (t["teacher"] + EPOCHS * t["epoch"]) for t in turns]
    overheads = [
        (t["teacher"] + EPOCHS * t["epoch"]) / (t["teacher"] + EPOCHS * t["bare"]) for t in turns
    ]
    per_image = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "what": f"{EPOCHS} epochs an image (extrapolated): {bench.teacher.name}, {args.student}",
        "ours_s": per_image["teacher"] + EPOCHS * per_image["epoch"],
        "baseline_s": per_image["published"] * EPOCHS,
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "overhead": statistics.median(overheads),
        "seconds_an_image": per_image,
    }


def boxes_at_once(bench: Bench) -> dict[str, Any]:
    """Part d: all boxes of some images in one call, and one by one."""
    config = TargetsConfig(jitter_copies=8, views="whole")
    side = bench.args.image_size
    images, boxes = bench.images[:4], bench.boxes[:4]
    all_boxes = [
        jittered_boxes(each, (side, side), 8, 0.1, str(n), 0) for n, each in enumerate(boxes)
    ]

    def batched() -> None:
        ask_teacher(
            bench.teacher,
            [Question(*pair, side) for pair in zip(images, all_boxes, strict=True)],
            config,
            whole=True,
        )

    def one_by_one() -> None:
        for image, copies in zip(images, all_boxes, strict=True):
            encoded = bench.teacher.encode([image])
            for box in copies.reshape(-1, 4):
                bench.teacher.decode(encoded, [box[None]])

    batched()
    return bench.turns(batched, one_by_one) | {
        "what": f"{bench.teacher.name}: 9 boxes an image at once, one by one"
    }


def beside_a_busy_process(bench: Bench) -> dict[str, Any]:
    """Part k: an image with its boxes, with all cores free and one of them busy."""
    side = bench.args.image_size
    boxes = jittered_boxes(bench.boxes[0], (side, side), 8, 0.1, "0", 0)
    questions = [Question(bench.images[0], boxes, side)]
    config = TargetsConfig(jitter_copies=8, views="whole")
    work = functools.partial(ask_teacher, bench.teacher, questions, config, whole=True)
    return bench.beside_a_busy_process(bench.teacher.name, work)
