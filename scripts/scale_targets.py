"""Make targets of very many cases with a fake teacher, and show that memory does not follow their number.

    python scripts/scale_targets.py /tmp/scale --cases 100000

All cases share one image file, so what is measured is the cache: keys, reading ahead, one file a case, the table. What
a case does leave in memory is its request and its row, about 2 kB; images, masks and answers are let go. A second run
finds all targets and shows what a finished cache costs.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meddistill.artifacts import Case
from meddistill.config import TargetsConfig
from meddistill.data.images import write_png
from meddistill.distillation.targets import TargetRequest, make_targets
from meddistill.models.teachers.base import BoxMasks, Encoded, resize_maps

_SIDE = 64


class FakeTeacher:
    """Answers every box with the same mask, and notes the memory every tenth of the way."""

    name = "fake"
    fingerprint = "fake"
    feature_channels: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, cases: int) -> None:
        self.cases = cases
        self.seen = 0
        self.logits = torch.full((_SIDE, _SIDE), -8.0)
        self.logits[20:40, 20:40] = 8.0

    def encode(self, images: Sequence[np.ndarray]) -> Encoded:
        before = self.seen * 10 // self.cases
        self.seen += len(images)
        if self.seen * 10 // self.cases != before:
            print(f"{self.seen:8d} cases, {memory_mb():7.0f} MB now", flush=True)
        return Encoded({}, [(1.0, 1.0)] * len(images), [image.shape[:2] for image in images], None)

    def decode(self, encoded: Encoded, boxes_xyxy_px: Sequence[np.ndarray]) -> list[BoxMasks]:
        return [
            BoxMasks(self.logits.expand(len(boxes), -1, -1), torch.full((len(boxes),), 0.9)) for boxes in boxes_xyxy_px
        ]

    def to_image(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return resize_maps(logits, size_hw)


def memory_mb() -> float:
    """Resident memory of this process; its peak where the system does not tell the present."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the targets go; removed by you")
    parser.add_argument("--cases", type=int, default=100_000, help="how many (default: 100000)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    image = args.directory / "data" / "images" / "train" / "shared.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    write_png(image, np.random.default_rng(0).integers(0, 255, (_SIDE, _SIDE, 3)).astype(np.uint8))
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    box = np.array([[20, 20, 40, 40]], np.float32)
    requests = [
        TargetRequest(
            Case(
                f"c{number:07d}", "train", "g", "c", "boxes", False, "images/train/shared.png", _SIDE, _SIDE, 1, "",
                "shared", sha256,
            ),
            box, "annotated", _SIDE,
        )
        for number in range(args.cases)
    ]  # fmt: skip
    print(f"{'0':>8s} cases, {memory_mb():7.0f} MB now", flush=True)
    started = time.monotonic()
    rows = make_targets(
        FakeTeacher(args.cases), requests, args.directory / "data", args.directory / "teacher",
        TargetsConfig(jitter_copies=1, views="whole"), seed=0, batch_size=16,
    )  # fmt: skip
    seconds = time.monotonic() - started
    print(
        f"{len(rows)} targets in {seconds:.0f} s, {1000 * seconds / len(rows):.1f} ms a case, {memory_mb():.0f} MB now"
    )


if __name__ == "__main__":
    main()
