"""Draw the README's picture from a finished RUN: what each of the four stages makes of a few cases.

Needs a finished RUN, such as the demo's. Takes seconds.

    .venv/bin/meddistill demo RUN
    .venv/bin/python scripts/dev/make_picture.py RUN --out .github/overview.png

A line a case: the image, the box, the teacher's soft mask and its uncertainty, the student's mask
beside the true one. The cases are those that RUN/eval judged, with a lesion and a box: the best,
the worst and evenly between them by the student's Dice, unless --case names others. Everything
drawn is what the stages wrote; nothing is computed again.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import matplotlib
import numpy as np
import torch
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from PIL import Image

from meddistill.base.console import console, say
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, InputError, MedDistillError
from meddistill.base.files import atomic_path
from meddistill.data.frames import from_frame
from meddistill.data.masks import read_mask
from meddistill.data.overlays import overlay
from meddistill.data.pixels import resize
from meddistill.evaluation.scores import read_scores
from meddistill.run.dataset import Dataset
from meddistill.run.labels import annotated_boxes
from meddistill.run.layout import BOXES_CSV, PER_CASE_CSV, QUALITY_CSV, RUN_JSON, RunDir, require
from meddistill.run.tables import Case, QualityRow, boxes_xyxy, read_boxes, read_cases
from meddistill.run.true_masks import mask_path
from meddistill.targets.cache import load_target
from meddistill.targets.prompts import ANNOTATED
from meddistill.targets.zoom import Window, zoom_window

# Typer reads annotations at run time.
# ruff: noqa: UP045

MOST_BYTES = 300_000
SAMPLE = "test slices of meddistill demo:\ndrawn phantoms, not patients"
CONTEXT = 2.2
"""Side of the enlarged window around a case's boxes, in longer sides of their hull."""
TILE_PX = 300
_DPIS = (200, 170, 140, 110, 80)

# A dark card looks the same on a light and a dark page, and black slices melt into it.
_CARD, _TEXT, _DIM, _BOX = "#151b23", "#f0f3f6", "#9aa6b2", "#35d0ff"
# Stage, its colour, its columns, what it gives.
_STAGES = (
    ("1  prepare", "#8b97a3", 0, 1, "images"),
    ("2  detect", "#35d0ff", 1, 2, "a detector's boxes"),
    ("3  distill", "#f5a742", 2, 4, "the teacher's answer to the box: what a student learns from"),
    ("4  eval", "#5fd38d", 4, 6, "the student alone, against the truth"),
)
_COLUMNS = ("image", "box", "soft mask", "uncertainty", "student: no box", "true mask")


@dataclasses.dataclass(frozen=True)
class Row:
    """One case as the stages left it, all (H, W): `image` uint8 RGB, `probs` and `uncertainty`
    float, masks bool.

    `boxes` (N, 4) px are what prompted the teacher, `confidence` the detector's of its surest box,
    None for people's.
    """

    case_id: str
    image: np.ndarray
    boxes: np.ndarray
    confidence: float | None
    probs: np.ndarray
    uncertainty: np.ndarray
    student: np.ndarray
    truth: np.ndarray
    dice: float


def collect(run: RunDir, count: int, case_ids: Sequence[str] = ()) -> list[Row]:
    """The rows of the picture, best student's Dice first.

    Raises: StageError for a RUN that lacks a stage; InputError where no judged case has a lesion
    and a teacher's target with a box; ConfigError for a case that is not among them.
    """
    for directory, command in ((run.data, "prepare"), (run.teacher, "distill"), (run.eval, "eval")):
        require(directory / RUN_JSON, command)
    cases = {case.case_id: case for case in read_cases(run.data)}
    dice = {
        row.case_id: row.dice
        for row in read_scores(run.eval / PER_CASE_CSV)
        if row.method == "student" and row.true_px and row.case_id in cases
    }
    targets = {
        row.case_id: row for row in read_table(run.teacher / QUALITY_CSV, QualityRow) if row.n_boxes
    }
    usable = sorted(dice.keys() & targets.keys(), key=lambda case_id: (-dice[case_id], case_id))
    if not usable:
        raise InputError(
            f"{run.eval} judged no case that has a lesion and, in {run.teacher}, a target made "
            "from a box"
        )
    strangers = [case_id for case_id in case_ids if case_id not in usable]
    if strangers:
        raise ConfigError(
            f"case '{strangers[0]}' is not among the {len(usable)} judged cases with lesion and box"
        )
    chosen = sorted(case_ids, key=usable.index) or spread(usable, count)
    return [
        _row(run, cases[case_id], targets[case_id], dice[case_id], list(cases.values()))
        for case_id in chosen
    ]


def spread(ordered: Sequence[str], count: int) -> list[str]:
    """`count` of them from first to last, evenly: the first and the last among them; all where
    there are fewer."""
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def _row(run: RunDir, case: Case, row: QualityRow, dice: float, cases: Sequence[Case]) -> Row:
    image = Dataset(run.data, cases).image(case)
    size_hw = (image.shape[0], image.shape[1])
    if row.prompt_source == ANNOTATED:
        boxes, confidence = annotated_boxes(run.data, case), None
    else:
        found = read_boxes(run.detector / BOXES_CSV, cases).get(case.case_id, [])
        boxes, confidence = boxes_xyxy(found), max((box.confidence for box in found), default=None)
    if not len(boxes):
        raise InputError(
            f"{case.case_id} has a target in {run.teacher}, but its box is not in RUN/data or "
            "RUN/detector"
        )
    target = load_target(run.teacher, case.case_id, row.key)
    probs, uncertainty = (
        from_frame(torch.from_numpy(frame)[None, None], size_hw)[0, 0].numpy()
        for frame in (target.probs, target.uncertainty)
    )
    student = read_mask(run.eval / "masks" / f"{case.case_id}.png")
    truth = read_mask(mask_path(run.data, case))
    return Row(case.case_id, image, boxes, confidence, probs, uncertainty, student, truth, dice)


def draw(rows: Sequence[Row], what: str = "") -> Figure:
    """The figure: a line a row under the four stages; `what` is the small print below."""
    columns, tile, gap = len(_COLUMNS), 1.5, 0.07  # inches
    left = right = 0.14
    head, label, foot = 0.62, 0.26, 0.42
    width = left + right + columns * tile + (columns - 1) * gap
    height = head + label + len(rows) * tile + (len(rows) - 1) * gap + foot
    figure = Figure(figsize=(width, height), facecolor=_CARD)
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, width), ylim=(height, 0))
    canvas.axis("off")
    starts = [left + column * (tile + gap) for column in range(columns)]
    _draw_stages(canvas, starts, tile, gap)
    for start, name in zip(starts, _COLUMNS, strict=True):
        canvas.text(
            start + tile / 2,
            head + label / 2,
            name,
            color=_TEXT,
            fontsize=8.5,
            ha="center",
            va="center",
        )
    most = max(float(row.uncertainty.max()) for row in rows) or 0.25
    for number, row in enumerate(rows):
        top = head + label + number * (tile + gap)
        for start, picture in zip(starts, _tiles(row, most), strict=True):
            axes = figure.add_axes(
                (start / width, 1 - (top + tile) / height, tile / width, tile / height)
            )
            axes.imshow(picture, interpolation="lanczos")
            axes.axis("off")
        _draw_marks(figure.axes[-columns:], row)
    bottom = height - foot + 0.13
    _draw_scale(figure, starts[2], bottom, tile, "magma", "probability", "0", "1")
    _draw_scale(figure, starts[3], bottom, tile, "viridis", "variance", "0", f"{most:.2f}")
    canvas.text(
        starts[0],
        bottom + 0.07,
        what,
        color=_DIM,
        fontsize=6.5,
        ha="left",
        va="center",
        linespacing=1.3,
    )
    note = f"Dice: best, worst and between,\nof the cases with a box" if len(rows) > 1 else ""  # noqa: F541
    canvas.text(
        starts[-1] + tile, bottom + 0.07, note, color=_DIM, fontsize=6.5, ha="right", va="center"
    )
    return figure


def _draw_stages(canvas: Any, starts: Sequence[float], tile: float, gap: float) -> None:
    """Four arrow-shaped headings over their columns."""
    top, bottom, tip = 0.12, 0.56, 0.09
    for name, colour, first, last, gives in _STAGES:
        x1, x2 = starts[first] - gap / 2, starts[last - 1] + tile + gap / 2
        x1, x2 = (x1 if first else starts[0]), (x2 if last < len(starts) else starts[-1] + tile)
        notch = x1 + tip if first else x1
        shape = [
            (x1, top),
            (x2 - tip, top),
            (x2, (top + bottom) / 2),
            (x2 - tip, bottom),
            (x1, bottom),
        ]
        shape.append((notch, (top + bottom) / 2))
        inset = 0.02 if first else 0.0
        canvas.add_patch(
            Polygon(
                [(x + inset, y) for x, y in shape], closed=True, facecolor=colour, alpha=0.2, lw=0
            )
        )
        middle = (x1 + x2) / 2 + (tip / 4 if first else -tip / 4)
        canvas.text(
            middle, 0.245, name, color=colour, fontsize=9.5, weight="bold", ha="center", va="center"
        )
        canvas.text(middle, 0.435, gives, color=_TEXT, fontsize=6.8, ha="center", va="center")


def _draw_scale(
    figure: Figure, start: float, top: float, tile: float, colours: str, name: str, *ends: str
) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes(
        ((start + 0.15) / width, 1 - (top + 0.06) / height, (tile - 0.3) / width, 0.06 / height)
    )
    axes.imshow(np.linspace(0, 1, 64)[None], cmap=colours, aspect="auto")
    axes.axis("off")
    canvas = figure.axes[0]
    for x, text, side in ((start + 0.15, ends[0], "left"), (start + tile - 0.15, ends[1], "right")):
        canvas.text(x, top + 0.15, text, color=_DIM, fontsize=6.5, ha=side, va="center")
    canvas.text(
        start + tile / 2, top + 0.15, name, color=_DIM, fontsize=6.5, ha="center", va="center"
    )


def _tiles(row: Row, most: float) -> list[np.ndarray]:
    """Six square pictures uint8 RGB: the whole image, then the window around its boxes five
    times.
    """
    window = _window(row)
    grey = row.image
    return [
        _square(grey),
        _cut(grey, window),
        _cut(_heat(grey, row.probs, "magma"), window),
        _cut(_heat(grey, row.uncertainty / most, "viridis"), window),
        overlay(_cut(grey, window), _cut_mask(row.student, window)),
        overlay(_cut(grey, window), _cut_mask(row.truth, window)),
    ]


def _window(row: Row) -> Window:
    hull = np.concatenate([row.boxes[:, :2].min(0), row.boxes[:, 2:].max(0)])
    return zoom_window(hull, (row.image.shape[0], row.image.shape[1]), CONTEXT)


def _heat(image: np.ndarray, share: np.ndarray, colours: str) -> np.ndarray:
    """Colours of `share` in [0, 1], the image shining through where it is low."""
    share = share.clip(0, 1)
    painted = matplotlib.colormaps[colours](share)[..., :3] * 255
    strength = (0.9 * np.minimum(1, 4 * share))[..., None]
    return (
        (image * (1 - strength) * 0.75 + painted * strength).round().clip(0, 255).astype(np.uint8)
    )


def _square(image: np.ndarray) -> np.ndarray:
    side = max(image.shape[:2])
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return resize(square, (TILE_PX, TILE_PX))


def _cut(image: np.ndarray, window: Window) -> np.ndarray:
    left, top, right, bottom = window
    return resize(np.ascontiguousarray(image[top:bottom, left:right]), (TILE_PX, TILE_PX))


def _cut_mask(mask: np.ndarray, window: Window) -> np.ndarray:
    left, top, right, bottom = window
    cut = np.ascontiguousarray(mask[top:bottom, left:right]).astype(np.uint8) * 255
    return resize(np.repeat(cut[..., None], 3, axis=2), (TILE_PX, TILE_PX))[..., 0] >= 128


def _draw_marks(axes: Sequence[Any], row: Row) -> None:
    """The window on the whole image, the boxes, and what the numbers say."""
    height, width = row.image.shape[:2]
    left, top, right, bottom = _window(row)
    scale = TILE_PX / max(height, width)
    at = np.array([(max(height, width) - width) // 2, (max(height, width) - height) // 2])
    corner = (np.array([left, top]) + at) * scale
    frame = {"fill": False, "linewidth": 0.8, "edgecolor": _TEXT, "linestyle": (0, (2, 2))}
    axes[0].add_patch(
        Rectangle(tuple(corner), (right - left) * scale, (bottom - top) * scale, **frame)
    )
    zoom = np.array([TILE_PX / (right - left), TILE_PX / (bottom - top)])
    for x1, y1, x2, y2 in row.boxes:
        corner, size = (
            (np.array([x1, y1]) - (left, top)) * zoom,
            np.array([x2 - x1, y2 - y1]) * zoom,
        )
        axes[1].add_patch(
            Rectangle(tuple(corner), *size, fill=False, linewidth=1.4, edgecolor=_BOX)
        )
    said = "annotated" if row.confidence is None else f"confidence {row.confidence:.2f}"
    for place, text in ((1, said), (4, f"Dice {row.dice:.2f}")):
        axes[place].text(
            8,
            TILE_PX - 10,
            text,
            color=_TEXT,
            fontsize=7.5,
            va="bottom",
            bbox={"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.6},
        )


def as_png(figure: Figure, most_bytes: int = MOST_BYTES) -> bytes:
    """The figure in 256 colours, as sharp as `most_bytes` allow. Raises: InputError where the
    coarsest is too large."""
    FigureCanvasAgg(figure)
    for dpi in _DPIS:
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=dpi, facecolor=_CARD)
        packed = io.BytesIO()
        few = (
            Image.open(drawn)
            .convert("RGB")
            .quantize(256, Image.Quantize.MAXCOVERAGE, 3, dither=Image.Dither.NONE)
        )
        few.save(packed, "PNG", optimize=True)
        if packed.tell() <= most_bytes:
            return packed.getvalue()
    raise InputError(
        f"the picture takes {packed.tell()} bytes at {dpi} dpi, more than {most_bytes}; draw fewer "
        "cases"
    )


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    run: Annotated[Path, typer.Argument(help="A finished RUN.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    count: Annotated[int, typer.Option(min=1, max=8, help="Cases to draw.")] = 3,
    cases: Annotated[
        Optional[list[str]], typer.Option("--case", help="A case to draw; may be repeated.")
    ] = None,
    what: Annotated[
        str, typer.Option(help="Small print below.")
    ] = "test slices of meddistill demo: drawn\nphantoms, no patient",
) -> None:
    try:
        rows = collect(RunDir(run), count, cases or [])
        content = as_png(draw(rows, what.replace("\\n", "\n")))
        with atomic_path(out) as temporary:
            temporary.write_bytes(content)
        say(
            f"{out}: {len(content) // 1000} kB, "
            f"{', '.join(f'{row.case_id} (Dice {row.dice:.2f})' for row in rows)}"
        )
    except OSError as error:
        console.print(
            f"error: {out} cannot be written: {error.strerror}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        sys.exit(1)
    except MedDistillError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    app()
