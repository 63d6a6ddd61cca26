"""How far what a student says of itself is to be trusted: judged by the masks of a RUN's test split.

Needs a RUN whose student was distilled or calibrated, and masks of its test images, which judge and
are read by nothing else. Foreign images need neither boxes nor masks. A minute or two a RUN on one
core, beside its training.

    .venv/bin/python scripts/studies/trust.py runs/brain --foreign far=data/isic --foreign near=data/acdc/images

Each RUN and student is a cell: OUT/RUN-STUDENT.json is written as it ends, and what is there is not
judged again. It holds expected Dice beside the true one (rank correlation, error, cover and width of
the interval, and the width that a constant one would need), rejection of the worst fifth beside
that of an oracle and of plain confidence, calibration around lesions and everywhere, before and
after, and the share of images that are flagged: own, foreign, spoiled, and with another scanner's
look. Of cells that are there already:

    .venv/bin/python scripts/studies/trust.py --table scripts/studies/trust
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import meddistill  # noqa: F401 - before torch: how threads wait is settled here

# isort: split
import numpy as np
import typer
from scipy import ndimage

from meddistill.base.console import console, say, track
from meddistill.base.errors import ConfigError, InputError, MedDistillError
from meddistill.base.files import read_json, write_json
from meddistill.data.boxes import fill_boxes, mask_to_boxes
from meddistill.data.masks import read_mask
from meddistill.data.scans import find_scans, read_scan
from meddistill.evaluation.calibration import Calibration
from meddistill.evaluation.trust_scores import (
    area_under_roc,
    froc,
    judge_expected,
    judge_rejection,
)
from meddistill.run.dataset import Dataset
from meddistill.run.layout import RunDir
from meddistill.run.true_masks import mask_path
from meddistill.student.predictor import doubts_of
from meddistill.student.student import Student, load_student
from meddistill.student.trust.reading import UNFAMILIAR

# Typer reads annotations at run time.
# ruff: noqa: UP045

Image = np.ndarray
MOST = 250
SPOILED_IMAGES = 60


def _wide(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Image], Image]:
    return lambda image: np.clip(np.rint(change(image.astype(np.float64))), 0, 255).astype(np.uint8)


def _blurred(image: np.ndarray, share: float) -> np.ndarray:
    sigma = share * max(image.shape[:2])
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)[: image.ndim])


def _noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 40, image.shape[:2])
    return image + (noise if image.ndim == 2 else noise[..., None])


SPOILED: dict[str, Callable[[Image], Image]] = {
    "negative": lambda image: 255 - image,
    "quarter turn": lambda image: np.rot90(image).copy(),
    "upside down": lambda image: image[::-1].copy(),
    "noise": _wide(_noisy),
    "constant": _wide(lambda image: np.full_like(image, image.mean())),
    "blurred": _wide(lambda image: _blurred(image, 0.02)),
    "cropped": lambda image: image[
        image.shape[0] // 4 : -(image.shape[0] // 4) or None,
        image.shape[1] // 4 : -(image.shape[1] // 4) or None,
    ].copy(),
}
LOOKS: dict[str, Callable[[Image], Image]] = {
    "contrast +15 %": _wide(lambda image: (image - image.mean()) * 1.15 + image.mean()),
    "contrast -15 %": _wide(lambda image: (image - image.mean()) * 0.85 + image.mean()),
    "a little blur": _wide(lambda image: _blurred(image, 0.004)),
}


@dataclasses.dataclass
class _Case:
    """What is known of one own image, with a mask: `probs` float32 (H, W) raw."""

    expected: float
    low: float
    high: float
    dice: float
    has_lesion: bool
    confidence: float
    p_finding: float


def judge(run: RunDir, student: Student, foreign: dict[str, Sequence[Image]]) -> dict[str, Any]:
    """All figures of a cell."""
    dataset = Dataset.open(run.data)
    cases = [case for case in dataset.of_split("test") if case.has_mask]
    if len(cases) < 2:
        raise InputError(f"{run.data} has {len(cases)} test image(s) with a mask; 2 are needed")
    cases = (
        [cases[place * len(cases) // MOST] for place in range(MOST)] if len(cases) > MOST else cases
    )
    images, told, parts = [], [], {}
    for where in ("around", "all"):
        for kind in ("raw", "calibrated"):
            parts[f"{where}, {kind}"] = Calibration()
    for case in track(cases, "own images", len(cases)):
        image = dataset.image(case)
        images.append(image)
        truth = read_mask(mask_path(run.data, case))
        told.append(_judge_case(student, image, truth, parts))
    return {
        "test_images": len(cases),
        "expected": _expected(told),
        "froc": froc(
            np.array([each.p_finding for each in told]),
            np.array([each.has_lesion for each in told]),
        ),
        "calibration": {
            name: {"ece": part.ece, "brier": part.brier} for name, part in parts.items()
        },
        "flags": _flags(student, images, foreign),
    }


def _judge_case(
    student: Student, image: Image, truth: np.ndarray, parts: dict[str, Calibration]
) -> _Case:
    (seen,) = student.look([image])
    if seen.reading is None:
        raise InputError("the student does not know itself: run `meddistill calibrate` first")
    of, raw = seen.reading.findings[0], seen.probs
    mask = raw >= student.preprocessing.threshold
    around = np.zeros_like(truth)
    for each in (mask, truth):
        boxes = mask_to_boxes(each)
        more = 0.25 * (boxes[:, 2:] - boxes[:, :2])
        grown = np.concatenate([boxes[:, :2] - more, boxes[:, 2:] + more], axis=1)
        around |= fill_boxes(grown, (truth.shape[0], truth.shape[1]))
    for kind, probs in (("raw", raw), ("calibrated", student.calibrated(raw))):
        parts[f"around, {kind}"].add(probs[around], truth[around])
        parts[f"all, {kind}"].add(probs, truth)
    total = int(mask.sum() + truth.sum())
    return _Case(
        expected=_number(of.expected_dice),
        low=_number(of.expected_dice_low),
        high=_number(of.expected_dice_high),
        dice=2 * int((mask & truth).sum()) / total if total else 1.0,
        has_lesion=bool(truth.any()),
        confidence=float(raw[mask].mean() if mask.any() else 1 - raw.max()),
        p_finding=_number(of.p_finding),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _expected(told: Sequence[_Case]) -> dict[str, Any]:
    """On images with a lesion, as that is what expected Dice is of."""
    with_lesion = [each for each in told if each.has_lesion]
    columns = {
        name: np.array([getattr(each, name) for each in with_lesion])
        for name in ("expected", "low", "high", "dice", "confidence")
    }
    if len(with_lesion) < 2 or not np.isfinite(columns["expected"]).all():
        return {}
    figures = judge_expected(*(columns[name] for name in ("expected", "low", "high", "dice")))
    by = {name: columns[name] for name in ("expected", "confidence")}
    return {**figures, "rejection": judge_rejection(by, columns["dice"])}


def _flags(
    student: Student, own: Sequence[Image], foreign: dict[str, Sequence[Image]]
) -> dict[str, Any]:
    """Share of unfamiliar images at p < .05, and with what is seen of the image itself; the area
    under ROC is of the distance."""
    some = own[:: max(1, len(own) // SPOILED_IMAGES)]
    sets: dict[str, Sequence[Image]] = {"own": own, **foreign}
    sets |= {name: [change(image) for image in some] for name, change in (SPOILED | LOOKS).items()}
    told: dict[str, Any] = {}
    distances: dict[str, np.ndarray] = {}
    for name, images in sets.items():
        readings = [seen.reading for seen in student.look(images)]
        p_values = np.array([_number(each and each.familiarity) for each in readings])
        distances[name] = np.array([each.signals[0, -1] for each in readings if each is not None])  # type: ignore[index]
        doubts = np.array([bool(doubts_of(student, image)) for image in images])
        told[name] = {
            "images": len(images),
            "unfamiliar": float((p_values < UNFAMILIAR).mean()),
            "odd": float(doubts.mean()),
            "either": float(((p_values < UNFAMILIAR) | doubts).mean()),
            "auroc": area_under_roc(distances["own"], distances[name]),
        }
    return told


def foreign_images(given: Sequence[str], student: Student) -> dict[str, list[Image]]:
    """At most `MOST` images of each NAME=FOLDER. Raises: ConfigError, InputError."""
    found: dict[str, list[Image]] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if not folder:
            raise ConfigError(f"--foreign is '{text}', expected NAME=FOLDER")
        files, problems = find_scans([folder])
        if problems:
            raise InputError(problems[0])
        files = files[:: max(1, len(files) // MOST)][:MOST]
        scans = [read_scan(path, student.preprocessing.intensity).images for path in files]
        found[name] = [images[len(images) // 2] for images in scans]
    return found


def make_table(cells: dict[str, dict[str, Any]]) -> str:
    """Markdown: a line a cell, and of each its flags."""
    lines = [
        "| cell | images | Spearman | error | held | width (constant) | all, kept, oracle, confidence "
        "| ECE around | ECE all |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, cell in cells.items():
        e, c = cell["expected"], cell["calibration"]
        r = e.get("rejection")
        kept = (
            [r["all"], *(r[which]["kept"] for which in ("expected", "oracle", "confidence"))]
            if r
            else []
        )
        numbers = (
            [f"{e[key]:.3f}" for key in ("spearman", "mean_error", "covered")] if r else [""] * 3
        )
        width = f"{e['width']:.2f} ({e['constant_width']:.2f})" if r else "unknown"
        ece = [
            f"{c[f'{w}, raw']['ece']:.3f} to {c[f'{w}, calibrated']['ece']:.3f}"
            for w in ("around", "all")
        ]
        shown = ", ".join(f"{value:.3f}" for value in kept)
        lines.append(
            "| " + " | ".join([name, str(cell["test_images"]), *numbers, width, shown, *ece]) + " |"
        )
    for name, cell in cells.items():
        lines += [
            "",
            f"{name}: flagged",
            "",
            "| images | unfamiliar | odd | either | AUROC |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {kind} ({of['images']}) | {of['unfamiliar']:.2f} | {of['odd']:.2f} | {of['either']:.2f} "
            f"| {of['auroc']:.3f} |"
            for kind, of in cell["flags"].items()
        ]
    return "\n".join(lines) + "\n"


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    run: Annotated[Optional[Path], typer.Argument(help="A RUN with a student.")] = None,
    student: Annotated[
        Optional[Path], typer.Option(help="Its directory, in place of RUN/student.")
    ] = None,
    foreign: Annotated[
        Optional[list[str]], typer.Option(help="NAME=FOLDER of images that are not its own.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the cells' files go.")] = Path(
        "scripts/studies/trust"
    ),
    table_of: Annotated[
        Optional[Path], typer.Option("--table", help="Only print the table of this folder.")
    ] = None,
) -> None:
    try:
        if table_of is None:
            if run is None:
                raise ConfigError("give a RUN, or a folder of cells as --table")
            directory = student or run / "student"
            path = out / f"{run.resolve().name}-{directory.name}.json"
            if not path.exists():
                knows = load_student(directory)
                told = judge(RunDir(run), knows, foreign_images(foreign or (), knows))
                facts = knows.trust.facts if knows.trust is not None else {}
                date = datetime.date.today().isoformat()
                write_json(path, {**told, "fitted_on": dict(facts), "date": date})
                say(f"judged: {path}")
        cells = {each.stem: read_json(each) for each in sorted((table_of or out).glob("*.json"))}
        if not cells:
            raise InputError(f"{table_of} holds no cell")
        typer.echo(make_table(cells))
    except MedDistillError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    app()
