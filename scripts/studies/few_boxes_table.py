"""Print the tables of the study of few boxes, and draw its curve.

Needs the cells that `scripts/studies/few_boxes.py` made. Takes seconds.

    .venv/bin/python scripts/studies/few_boxes_table.py scripts/studies/few_boxes --plot curve.png

The first table has a line a set and count of boxes: each arm's mean over its draws, and
colearning's paired difference with its rival: draw by draw the better of the arms without unboxed
images. The second has what each part is worth: colearning without it (or with it, where it is no
part by default) against colearning as it is. Intervals resample groups of cases.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer
from _cells import one_line_errors, paired_difference, read_cells
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from meddistill.base.files import atomic_path

# Typer reads annotations at run time.
# ruff: noqa: UP045

ALONE, LONGER, OURS = "alone", "longer", "colearning"
ALL = "all"
NAMES = {
    "brain": "brain tumour, MRI",
    "busi": "breast tumour, ultrasound",
    "isic": "skin lesion, photograph",
    "kvasir": "polyp, colonoscopy",
    "acdc-left": "left ventricle, MRI",
    "acdc-right": "right ventricle, MRI",
}
Cell = dict[str, Any]


def chosen(cells: Sequence[Cell], set_name: str, boxes: int, arm: str) -> list[Cell]:
    """The cells of an arm, by draw."""
    return sorted(
        (
            cell
            for cell in cells
            if (cell["set_name"], cell["boxes"], cell["arm"]) == (set_name, boxes, arm)
        ),
        key=lambda cell: cell["draw"],
    )


def rivals(cells: Sequence[Cell], set_name: str, boxes: int) -> list[Cell]:
    """Of each draw the better of the arms without unboxed images."""
    of_draw: dict[int, Cell] = {}
    for arm in (ALONE, LONGER):
        for cell in chosen(cells, set_name, boxes, arm):
            known = of_draw.get(cell["draw"])
            if known is None or cell["dice_mean"] > known["dice_mean"]:
                of_draw[cell["draw"]] = cell
    return [of_draw[draw] for draw in sorted(of_draw)]


def make_table(cells: Sequence[Cell]) -> str:
    """A Markdown table, a line a set and count of boxes."""
    lines = [
        "| set | boxes | draws | unboxed | alone | longer | colearning | difference (95 % interval) "
        "| found, rival and colearning | no pixel hit | false alarms | minutes a cell |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    places = {(cell["set_name"], cell["boxes"]) for cell in cells}
    for set_name, boxes in sorted(places, key=lambda place: (place[0], place[1] or 10**9)):
        arms = [chosen(cells, set_name, boxes, arm) for arm in (ALONE, LONGER, OURS)]
        rival, ours = rivals(cells, set_name, boxes), arms[-1]
        both_have = {cell["draw"] for cell in rival} & {cell["draw"] for cell in ours}
        if both_have:
            arms = [[cell for cell in found if cell["draw"] in both_have] for found in arms]
            rival = [cell for cell in rival if cell["draw"] in both_have]
            ours = arms[-1]
        both = [found for found in (rival, ours) if found]
        if not both:
            continue
        facts = [
            set_name,
            str(boxes or ALL),
            str(len(ours or rival)),
            str(both[0][0]["unboxed"]),
            *(f"{_mean(found, 'dice_mean'):.3f}" if found else "" for found in arms),
            paired_difference(ours, rival, "draw"),
            *(
                ", ".join(tell(found) for found in both)
                for tell in (_found, _missed, _alarms, _minutes)
            ),
        ]
        lines.append(f"| {' | '.join(facts)} |")
    return "\n".join(lines) + "\n"


def make_parts_table(cells: Sequence[Cell]) -> str:
    """A Markdown table, a line a set, count of boxes and part; empty where no cell is without a
    part."""
    lines = [
        "| set | boxes | draws | colearning | Dice | difference |",
        "|---|---|---|---|---|---|",
    ]
    places = sorted(
        {
            (cell["set_name"], cell["boxes"], cell["arm"])
            for cell in cells
            if cell["arm"] not in (ALONE, LONGER, OURS)
        }
    )
    for set_name, boxes, arm in places:
        found, whole = (chosen(cells, set_name, boxes, each) for each in (arm, OURS))
        facts = [
            set_name,
            str(boxes),
            str(len(found)),
            arm.replace("-", " "),
            f"{_mean(found, 'dice_mean'):.3f}",
            paired_difference(found, whole, "draw"),
        ]
        lines.append(f"| {' | '.join(facts)} |")
    return "\n".join(lines) + "\n" if places else ""


def _mean(cells: Sequence[Cell], name: str) -> float:
    return statistics.mean(cell[name] for cell in cells) if cells else 0.0


def _found(cells: Sequence[Cell]) -> str:
    return f"{_mean(cells, 'found'):.0%}"


def _missed(cells: Sequence[Cell]) -> str:
    return f"{_mean(cells, 'no_pixel_hit'):.0f}"


def _alarms(cells: Sequence[Cell]) -> str:
    empty = cells[0]["empty_cases"]
    return f"{_mean(cells, 'false_alarms'):.0f} of {empty}" if empty else "-"


def _minutes(cells: Sequence[Cell]) -> str:
    return f"{statistics.mean(cell['seconds']['wall'] for cell in cells) / 60:.0f}"


def draw_curve(cells: Sequence[Cell], path: Path) -> None:
    """Dice by count of boxes, a panel a set: boxed images alone, the others made to pay, and what
    boxes on all images give; a dot a draw. Reads on light and dark pages."""
    names = [name for name in NAMES if any(cell["set_name"] == name for cell in cells)]
    names += sorted({cell["set_name"] for cell in cells} - set(names))
    columns = min(2 if len(names) == 4 else 3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.9 * rows), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for place, name in enumerate(names, start=1):
        _draw_set(figure.add_subplot(rows, columns, place), cells, name)
    # One scale for all, so that a small difference looks small.
    values = [cell["dice_mean"] for cell in cells]
    for axes in figure.axes:
        axes.set_ylim(np.floor(10 * min(values)) / 10, np.ceil(10 * max(values)) / 10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _draw_set(axes: Any, cells: Sequence[Cell], name: str) -> None:
    counts = sorted({cell["boxes"] for cell in cells if cell["set_name"] == name} - {0})
    told: tuple[tuple[str, str, Callable[[int], list[Cell]]], ...] = (
        ("boxed images alone", "#8a8f98", lambda count: rivals(cells, name, count)),
        ("unboxed ones made to pay", "#c2410c", lambda count: chosen(cells, name, count, OURS)),
    )
    for label, colour, of_count in told:
        found = [(count, of_count(count)) for count in counts]
        found = [(count, each) for count, each in found if each]
        places = [count for count, _ in found]
        axes.plot(
            places, [_mean(each, "dice_mean") for _, each in found], "-o", color=colour, label=label
        )
        for count, each in found:
            values = [cell["dice_mean"] for cell in each]
            axes.plot([count] * len(values), values, ".", color=colour, alpha=0.5, markersize=4)
    every = chosen(cells, name, 0, ALONE)
    if every:
        axes.axhline(_mean(every, "dice_mean"), color="#1f6feb", linestyle="--", label="all boxed")
    axes.set_title(NAMES.get(name, name), fontsize=10)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(counts or [20], [str(count) for count in counts or [20]])
    if len(counts) == 1:
        axes.set_xlim(counts[0] / 2, counts[0] * 2)
    axes.set_xlabel("boxed images", fontsize=9)
    axes.set_ylabel("Dice", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#e5e7eb")
    axes.spines[["top", "right"]].set_visible(False)


# The opening comment is the help, its lines as they stand.
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    folder: Annotated[Path, typer.Argument(help="The cells.")],
    plot: Annotated[Optional[Path], typer.Option(help="Draw the curve to this PNG, too.")] = None,
) -> None:
    with one_line_errors():
        cells = read_cells(folder, "*-*-*.json")
        typer.echo("\n".join(filter(None, (make_table(cells), make_parts_table(cells)))))
        if plot is not None:
            draw_curve(cells, plot)


if __name__ == "__main__":
    app()
