"""How fast `meddistill prepare` is beside an earlier version of itself, in turns, on the same pictures.

    git worktree add ../before v0.1.0
    .venv/bin/python scripts/bench/prepare_pair.py ../before --pictures 10000

Draws pictures with masks into a scratch folder, prepares them with either checkout, one process of its
own each time, and prints seconds, seconds of the processor, and the ratios (before to now: above 1 is
faster). On a machine that does other things too, those of the processor tell more. Minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def draw(root: Path, count: int, size: int) -> None:
    """`count` grey pictures of noise with an ellipse each, and its mask."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    noise = rng.integers(0, 120, (2 * size, 2 * size), dtype=np.uint8)
    for number in range(count):
        x, y = (int(value) for value in rng.integers(0, size, 2))
        image, mask = noise[y : y + size, x : x + size].copy(), np.zeros((size, size), np.uint8)
        centre = tuple(int(value) for value in rng.integers(size // 4, 3 * size // 4, 2))
        axes = tuple(int(value) for value in rng.integers(size // 16, size // 5, 2))
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
        image[mask > 0] += 100
        cv2.imwrite(str(root / "images" / f"p{number:06}.png"), image)
        cv2.imwrite(str(root / "masks" / f"p{number:06}.png"), mask)


def seconds(checkout: Path, source: Path, run: Path, workers: int) -> tuple[float, float]:
    """How long one `prepare` takes from an empty RUN: on the clock, and of the processor."""
    command = [sys.executable, "-m", "meddistill", "-q", "prepare", str(run)]
    command += ["--source", str(source), "--set", f"prepare.workers={workers}"]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command,
        check=True,
        cwd=run.parent,
        env=os.environ | {"PYTHONPATH": str(checkout.resolve())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - began, used


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="a checkout of the earlier version")
    parser.add_argument("--pictures", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--size", type=int, default=128, help="their side in px (default: 128)")
    parser.add_argument("--turns", type=int, default=3, help="times each (default: 3)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        draw(source, given.pictures, given.size)
        ratios = []
        for turn in range(given.turns):
            before, now = (
                seconds(checkout, source, Path(scratch) / f"{name}{turn}", given.workers)
                for name, checkout in (("before", given.before), ("now", ROOT))
            )
            ratios.append((before[0] / now[0], before[1] / now[1]))
            print(
                f"turn {turn}: before {before[0]:.1f} s ({before[1]:.1f} s of the processor), now "
                f"{now[0]:.1f} s ({now[1]:.1f} s), ratio {ratios[-1][0]:.3f} ({ratios[-1][1]:.3f})",
                flush=True,
            )
        clock, used = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(
            f"prepare of {given.pictures} pictures of {given.size} px, {given.turns} turns: median "
            f"ratio {clock:.3f}, of the processor's time {used:.3f}"
        )


if __name__ == "__main__":
    main()
