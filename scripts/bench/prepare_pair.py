"""How fast `meddistill prepare` is beside an earlier version of itself, in turns, on the same pictures.

    git worktree add ../before v0.1.0
    .venv/bin/python scripts/bench/prepare_pair.py ../before --pictures 10000

Draws pictures with masks into a scratch folder, prepares them with either checkout, one process of its
own each time, and prints the seconds and their ratio (before to now: above 1 is faster). Minutes.
"""

from __future__ import annotations

import argparse
import os
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


def seconds(checkout: Path, source: Path, run: Path, workers: int) -> float:
    """How long one `prepare` takes, from an empty RUN."""
    command = [sys.executable, "-m", "meddistill", "-q", "prepare", str(run)]
    command += ["--source", str(source), "--set", f"prepare.workers={workers}"]
    began = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        cwd=run.parent,
        env=os.environ | {"PYTHONPATH": str(checkout.resolve())},
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


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
            pair = [
                seconds(checkout, source, Path(scratch) / f"{name}{turn}", given.workers)
                for name, checkout in (("before", given.before), ("now", ROOT))
            ]
            ratios.append(pair[0] / pair[1])
            print(
                f"turn {turn}: before {pair[0]:.1f} s, now {pair[1]:.1f} s, ratio {ratios[-1]:.3f}"
            )
        print(
            f"prepare of {given.pictures} pictures of {given.size} px: ratio {min(ratios):.3f} to "
            f"{max(ratios):.3f}, median {statistics.median(ratios):.3f}"
        )


if __name__ == "__main__":
    main()
