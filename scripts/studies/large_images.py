"""Whether a small lesion in a large image is found: the student in tiles, and with whole images in its
frame.

Needs nothing: it draws its images. Takes some ten minutes on one core, a quarter at half the size:

    .venv/bin/python scripts/studies/large_images.py --work runs/large_images
    python scripts/studies/large_images.py --side 1536 --train 10 --val 2 --test 6 --set distill.image_size=128

Each image of 3,072 x 3,072 px holds one lesion, a disc of 40 px; scattered around it are specks,
smaller and brighter, which are as bright as a lesion once the image is shrunk, and large pale
patches. Boxes teach, LiteMedSAM answers them (a window around each box), and two students of equal
settings and equally many steps learn: with `distill.tiles=auto`, which cuts such images into tiles,
and with `never`. The drawn masks judge: a lesion is found where the student's mask overlaps it with
an IoU above .1. What is there already is not made again.
"""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import Annotated, Optional

from _cells import one_line_errors

# isort: split
import cv2
import numpy as np
import typer

from meddistill.data.formats.pictures import write_png
from meddistill.evaluation.request import EvalRequest
from meddistill.run.layout import PER_CASE_CSV, RunDir
from meddistill.settings.layers import load_config
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.teachers.teacher import Teacher

# Typer reads annotations at run time.
# ruff: noqa: UP045

SETTINGS = (
    "distill.teacher=litemedsam",
    "distill.student=unet",
    "distill.encoder=tu-test_resnet",
    "distill.encoder_weights=none",
    "distill.decoder_channels=[64,48,32,16,8]",
    "distill.lr=3e-3",
    "distill.ema_decay=0.97",
    "distill.feature_weight=0",
    "distill.test_targets=false",
    "distill.precision=32-true",
    "distill.targets.views=zoom",
    "distill.targets.jitter_copies=0",
    "eval.baselines=false",
)
STEPS, BATCH = 160, 8
TILES_AN_IMAGE = 6
"""Two around its lesion and four without one, of an image with one lesion."""
FOUND_FROM_DICE = 2 * 0.1 / (1 + 0.1)
"""Dice of a mask whose IoU with the true one is .1."""


def draw_image(seed: int, side: int, lesion_px: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey image, uint8 (side, side), and its mask, 0 or 255."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(60, 110, (side // 128, side // 128)).astype(np.float32)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    image += random.normal(0, 6, (side, side)).astype(np.float32)
    image += 15 * _discs(random, side, side // 64, (lesion_px, 4 * lesion_px))
    image += 110 * _discs(random, side, side // 16, (4, lesion_px // 3))
    mask = np.zeros((side, side), np.uint8)
    x, y = (int(each) for each in random.integers(2 * lesion_px, side - 2 * lesion_px, 2))
    cv2.circle(mask, (x, y), lesion_px // 2, 255, -1)
    image[mask > 0] += 50
    soft = cv2.GaussianBlur(image, (0, 0), 1.2)
    return np.clip(soft, 0, 255).astype(np.uint8), mask


def _discs(
    random: np.random.Generator, side: int, count: int, wide_px: tuple[int, int]
) -> np.ndarray:
    """1 in each of `count` discs of random width, else 0; float32 (side, side)."""
    discs = np.zeros((side, side), np.float32)
    for _ in range(count):
        x, y, wide = (int(random.integers(*ends)) for ends in ((0, side), (0, side), wide_px))
        cv2.circle(discs, (x, y), max(1, wide // 2), 1.0, -1)
    return discs


def demonstrate(
    work: Path,
    *,
    side: int,
    lesion_px: int,
    counts: tuple[int, int, int],
    overrides: tuple[str, ...] = (),
    teacher: Teacher | None = None,
) -> str:
    """A Markdown table, a line a student: how many lesions of the test images it found.

    Args:
        work: where images and RUN lie.
        side: of the images, px.
        lesion_px: diameter of their lesions.
        counts: images to train on, to validate by and to judge.
        overrides: settings over the study's own.
        teacher: one to use instead of LiteMedSAM.
    """
    _draw_all(work / "source", side, lesion_px, counts)
    lines = [
        "| student | frame, px | lesion in it, px | found | Dice | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for tiles in ("auto", "never"):
        images = counts[0] * (TILES_AN_IMAGE if tiles == "auto" else 1)
        steps = math.ceil(images / BATCH)
        settings = (
            f"prepare.source={work / 'source'}",
            f"prepare.groups={work / 'source' / 'parts.csv'}",
            "prepare.val=part=val",
            "prepare.test=part=test",
            *SETTINGS,
            f"distill.batch_size={BATCH}",
            f"distill.epochs={max(1, STEPS // steps)}",
            f"distill.tiles={tiles}",
            *overrides,
        )
        config = load_config(None, {}, settings)
        run = RunDir(work / "run")
        run_prepare(run, config.prepare, seed=0)
        began = time.perf_counter()
        student = run_distill(
            run, config.distill, out=run.root / f"student-{tiles}", device="cpu", teacher=teacher
        )
        judged = run_eval(
            run,
            config.eval,
            EvalRequest(student=student, out=run.root / f"eval-{tiles}"),
            seed=0,
        )
        minutes = (time.perf_counter() - began) / 60
        frame = config.distill.image_size
        lines.append(_line(tiles, judged, frame, lesion_px, frame / side) + f" {minutes:.1f} |")
    return "\n".join(lines) + "\n"


def _draw_all(source: Path, side: int, lesion_px: int, counts: tuple[int, int, int]) -> None:
    parts = [
        part
        for part, count in zip(("train", "val", "test"), counts, strict=True)
        for _ in range(count)
    ]
    for number in range(len(parts)):
        path = source / "images" / f"c{number:03d}.png"
        if not path.exists():
            image, mask = draw_image(number, side, lesion_px)
            write_png(source / "masks" / path.name, mask)
            write_png(path, image)
    with (source / "parts.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(f"c{number:03d}", number, part) for number, part in enumerate(parts)]
        csv.writer(file).writerows([("id", "group", "part"), *rows])


def _line(tiles: str, judged: Path, frame: int, lesion_px: int, scale: float) -> str:
    with (judged / PER_CASE_CSV).open(newline="", encoding="utf-8") as file:
        dice = [float(row["dice"]) for row in csv.DictReader(file) if row["method"] == "student"]
    found = sum(value > FOUND_FROM_DICE for value in dice)
    name = "in tiles" if tiles == "auto" else "whole images"
    shown = lesion_px if tiles == "auto" else lesion_px * scale
    return f"| {name} | {frame} | {shown:.1f} | {found} of {len(dice)} | {np.mean(dice):.3f} |"


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    work: Annotated[Path, typer.Option(help="Where images and RUN lie.")] = Path(
        "runs/large_images"
    ),
    side: Annotated[int, typer.Option(help="Of the images, px.")] = 3072,
    lesion_px: Annotated[int, typer.Option(help="Diameter of a lesion, px.")] = 40,
    train: Annotated[int, typer.Option(help="Images to train on.")] = 12,
    val: Annotated[int, typer.Option(help="Images to validate by.")] = 3,
    test: Annotated[int, typer.Option(help="Images to judge.")] = 6,
    overrides: Annotated[
        Optional[list[str]], typer.Option("--set", help="One setting, as section.key=value.")
    ] = None,
) -> None:
    with one_line_errors():
        table = demonstrate(
            work,
            side=side,
            lesion_px=lesion_px,
            counts=(train, val, test),
            overrides=tuple(overrides or ()),
        )
        typer.echo(f"\n{table}")


if __name__ == "__main__":
    app()
