"""Make targets of very many cases with a fake teacher, and show that memory does not follow their
number.

Needs an empty folder, no GPU and no weights. Takes some ten minutes.

    python scripts/bench/scale_targets.py /tmp/scale --cases 1000 10000 100000

All cases share one image file, so what is measured is the cache: keys, reading ahead, one file a
case, the table. What a case does leave in memory is its request and its row, about 2 kB; images,
masks and answers are let go. Each size has a process of its own, which then looks for its targets
once more: what a finished cache costs. One table is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meddistill.data.formats.pictures import write_png
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case
from meddistill.settings.targets import TargetsConfig
from meddistill.targets.making import TargetMaker
from meddistill.targets.requests import TargetRequest
from meddistill.teachers.teacher import BoxMasks, Encoded, resize_maps

_SIDE = 64


class FakeTeacher:
    """Answers every box with the same mask."""

    name = "fake"
    fingerprint = "fake"
    feature_channels: dict[str, int] = {}  # noqa: RUF012
    head_levels = ("embedding",)
    takes_masks = False
    memory = None
    logit_shift = 0.0

    def __init__(self) -> None:
        self.logits = torch.full((_SIDE, _SIDE), -8.0)
        self.logits[20:40, 20:40] = 8.0

    def encode(self, images: Sequence[np.ndarray]) -> Encoded:
        return Encoded({}, [(1.0, 1.0)] * len(images), [image.shape[:2] for image in images])

    def decode(
        self,
        encoded: Encoded,
        boxes_xyxy_px: Sequence[np.ndarray],
        mask_logits: Sequence[Tensor | None] | None = None,
    ) -> list[BoxMasks]:
        return [
            BoxMasks(self.logits.expand(len(boxes), -1, -1), torch.full((len(boxes),), 0.9))
            for boxes in boxes_xyxy_px
        ]

    def to_image(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return resize_maps(logits, size_hw)


def measure(directory: Path, cases: int) -> dict[str, float]:
    """Make the targets of `cases` cases in `directory`, find them again, and say what it took."""
    torch.set_num_threads(1)
    image = directory / "data" / "images" / "train" / "shared.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    write_png(image, np.random.default_rng(0).integers(0, 255, (_SIDE, _SIDE, 3)).astype(np.uint8))
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    box = np.array([[20, 20, 40, 40]], np.float32)
    requests = [
        TargetRequest(
            Case(
                f"c{number:07d}",
                "train",
                "g",
                "c",
                "boxes",
                False,
                "images/train/shared.png",
                _SIDE,
                _SIDE,
                1,
                "",
                "shared",
                sha256,
            ),
            box,
            "annotated",
            _SIDE,
        )
        for number in range(cases)
    ]
    dataset = Dataset(directory / "data", [request.case for request in requests])
    config = TargetsConfig(jitter_copies=1, views="whole")
    seconds, processor = [], []
    for _ in range(2):
        begun, used = time.monotonic(), time.process_time()
        maker = TargetMaker(FakeTeacher(), dataset, directory / "teacher", config, batch_size=16)
        maker.make(requests)
        seconds.append(time.monotonic() - begun)
        processor.append(time.process_time() - used)
    # Which targets are there is the start-up of a pass: the second one did nothing else.
    return {
        "cases": cases,
        "made_s": seconds[0],
        "made_cpu_ms": 1000 * processor[0] / cases,
        "found_s": seconds[1],
        "found_cpu_ms": 1000 * processor[1] / cases,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "kb": sum(path.stat().st_size for path in (directory / "teacher" / "targets").iterdir())
        / cases
        / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "directory",
        type=Path,
        help="an empty folder for data and cache; each size is removed again",
    )
    parser.add_argument(
        "--cases", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes to measure"
    )
    parser.add_argument(
        "--json", type=Path, help="measure the one size here and write its figures to this file"
    )
    args = parser.parse_args()
    if args.json:
        args.json.write_text(json.dumps(measure(args.directory, args.cases[0])))
        return
    print(
        "| cases | CPU ms a case | seconds in all | found again, CPU ms a case | peak memory, MB "
        "| cache, kB a case |"
    )
    print("|---|---|---|---|---|---|")
    for cases in args.cases:
        where = args.directory / str(cases)
        where.mkdir(parents=True)
        found = where / "figures.json"
        command = [
            sys.executable,
            __file__,
            str(where),
            "--cases",
            str(cases),
            "--json",
            str(found),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        row = json.loads(found.read_text())
        shutil.rmtree(where)
        print(
            f"| {cases:,} | {row['made_cpu_ms']:.2f} | {row['made_s']:.0f} | "
            f"{row['found_cpu_ms']:.2f} "
            f"| {row['peak_mb']:.0f} | {row['kb']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
