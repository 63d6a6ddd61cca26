"""Images per second of a teacher: one image and one box at a time, against batches with all boxes
in one call.

Needs nothing but the teacher's weights, or `--random-weights`. Takes some minutes.

    python scripts/bench/teacher.py --teacher litemedsam --images 8 --batch-size 2 --copies 8
    python scripts/bench/teacher.py --teacher sam2.1-large --random-weights --device cuda --precision bf16-mixed

For a SAM 2 teacher the one-by-one path is the official SAM2ImagePredictor, for LiteMedSAM our own.
Speed does not depend on the weights, so `--random-weights` measures a SAM 2 network whose
checkpoint is not on this machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import meddistill  # noqa: F401 - before torch: how threads wait is settled here, as for every command

# isort: split
import numpy as np
import torch

from meddistill.teachers import sam2
from meddistill.teachers.loading import load_teacher, teacher_entry
from meddistill.teachers.teacher import Teacher, autocast, keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--teacher",
        default="litemedsam",
        help="a name of `meddistill teachers` (default: litemedsam)",
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="a SAM 2 without its checkpoint: same time"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")
    parser.add_argument(
        "--precision", default="32-true", help="32-true or bf16-mixed (default: 32-true)"
    )
    parser.add_argument("--images", type=int, default=8, help="how many (default: 8)")
    parser.add_argument("--size", type=int, default=256, help="side of the images, px")
    parser.add_argument("--boxes", type=int, default=1, help="boxes an image")
    parser.add_argument("--copies", type=int, default=8, help="jittered copies a box")
    parser.add_argument(
        "--batch-size", type=int, default=4, help="images a forward pass (default: 4)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    teacher = (
        random_teacher(args.teacher, args.device, args.precision)
        if args.random_weights
        else load_teacher(args.teacher, device=args.device, precision=args.precision)
    )
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 255, (args.size, args.size, 3)).astype(np.uint8) for _ in range(args.images)
    ]
    low = rng.uniform(0, args.size / 2, (args.images, args.boxes * (1 + args.copies), 2))
    boxes = np.concatenate([low, low + args.size / 4], axis=2).astype(np.float32)
    ways = {"one by one": one_by_one, f"batches of {args.batch_size}": in_batches}
    if isinstance(teacher, sam2.Sam2):
        ways["one by one"] = official_predictor
    print(
        f"{args.teacher}, {args.precision}, {args.device}, {args.threads} threads, "
        f"{boxes.shape[1]} boxes an image"
    )
    for name, way in ways.items():
        _timed(
            lambda way=way: way(teacher, images[: args.batch_size], boxes, args.batch_size),
            args.device,
        )
        seconds = _timed(lambda way=way: way(teacher, images, boxes, args.batch_size), args.device)
        print(
            f"{name:16s} {args.images / seconds:8.2f} images/s  ({seconds / args.images:.3f} s an "
            "image)"
        )


def in_batches(
    teacher: Teacher, images: list[np.ndarray], boxes: np.ndarray, batch_size: int
) -> None:
    for start in range(0, len(images), batch_size):
        encoded = teacher.encode(images[start : start + batch_size])
        teacher.decode(encoded, list(boxes[start : start + batch_size]))


def one_by_one(
    teacher: Teacher, images: list[np.ndarray], boxes: np.ndarray, batch_size: int
) -> None:
    for image, image_boxes in zip(images, boxes, strict=False):
        encoded = teacher.encode([image])
        for box in image_boxes:
            teacher.decode(encoded, [box[None]])


def official_predictor(
    teacher: sam2.Sam2, images: list[np.ndarray], boxes: np.ndarray, batch_size: int
) -> None:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(teacher.net)
    with torch.inference_mode(), autocast(teacher.device, teacher.precision):
        for image, image_boxes in zip(images, boxes, strict=False):
            predictor.set_image(image)
            for box in image_boxes:
                predictor.predict(box=box, multimask_output=False)


def random_teacher(name: str, device: torch.device | str, precision: str) -> Teacher:
    """The SAM 2 teacher `name` with random weights: as fast as with its own."""
    keep_freed_memory()
    entry = teacher_entry(name)
    network = sam2.build_network(sam2.packaged_yaml(entry.model_yaml), entry.input_size)
    return sam2.Sam2(name, network, "random", torch.device(device), precision)


def _timed(work: Callable[[], None], device: str) -> float:
    started = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
