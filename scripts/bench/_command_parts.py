"""Parts of `run.py` that measure what lies around the training: metrics (e), `prepare` (f), `--help` (g) and
prediction (j); does nothing by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _bench import Bench
from baselines import metrics_in_a_loop

from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import Preprocessing
from meddistill.data.sources.phantom import draw_slice
from meddistill.evaluation.metrics import score_case
from meddistill.student.student import Student


def metrics(bench: Bench) -> dict[str, Any]:
    """Part e: the scores of cases, and medpy's in a loop."""
    rows, columns = np.mgrid[:512, :512]
    pairs = []
    for _ in range(bench.args.images):
        y, x, r = (
            bench.rng.uniform(150, 350),
            bench.rng.uniform(150, 350),
            bench.rng.uniform(15, 60),
        )
        pairs.append(
            (
                (rows - y) ** 2 + (columns - x) ** 2 < r**2,
                (rows - y - 3) ** 2 + (columns - x + 2) ** 2 < r**2,
            )
        )
    found = bench.turns(
        lambda: [score_case(*pair) for pair in pairs], lambda: metrics_in_a_loop(pairs)
    )
    return found | {"what": "metrics at 512 px against medpy on whole images"}


def prepare(bench: Bench, scratch: Path) -> dict[str, Any]:
    """Part f: `prepare` on all cores, and a plain loop."""
    source, number = scratch / "source", 0
    _write_pictures(bench, source)

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
    found = bench.turns(ours, lambda: _python(plain, source, scratch / "plain"), repeats=3)
    return found | {
        "what": f"prepare of {bench.args.prepared} pictures of 512 px against a plain loop"
    }


def _write_pictures(bench: Bench, source: Path) -> None:
    """A folder of slices with masks: a few are drawn, a second each, the rest are shifted,
    mirrored and noisy."""
    drawn = [draw_slice(bench.rng, 512) for _ in range(12)]
    for number in range(bench.args.prepared):
        image, mask, _ = drawn[number % len(drawn)]
        shift, turn = bench.rng.integers(0, 512, 2), (-1) ** bench.rng.integers(0, 2, 2)
        image, mask = (
            np.roll(pixels, shift, (0, 1))[:: turn[0], :: turn[1]] for pixels in (image, mask)
        )
        noisy = np.clip(image + bench.rng.integers(-3, 4, image.shape), 0, 255)
        write_png(source / "images" / f"{number:05d}.png", noisy.astype(np.uint8))
        write_png(
            source / "masks" / f"{number:05d}.png", np.ascontiguousarray(mask) * np.uint8(255)
        )


def help_text(bench: Bench) -> dict[str, Any]:
    """Part g: `meddistill --help`, and the import that it needs."""
    command = [sys.executable, "-m", "meddistill", "--help"]
    found = bench.turns(
        lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True),
        lambda: subprocess.run(
            [sys.executable, "-c", "import typer.rich_utils, rich.markdown"], check=True
        ),
    )
    return found | {"what": "meddistill --help against the import of Typer and Rich alone"}


def prediction_beside_a_busy_process(bench: Bench) -> dict[str, Any]:
    """Part j: predictions, with all cores free and one of them busy."""
    module = bench.student()
    preprocessing = Preprocessing(bench.args.image_size, *module.preprocessing_mean_std)
    student = Student(module, preprocessing, bench.fabric.device)

    def predict() -> None:
        for image in bench.images:
            student.predict(image)

    return bench.beside_a_busy_process("prediction", predict)


def _python(*words: object) -> None:
    subprocess.run(
        [sys.executable, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
