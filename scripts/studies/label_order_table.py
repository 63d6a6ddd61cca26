"""Prints the tables of `label_order.py`: which order of labelling is best, and what proposals save.

.venv/bin/python scripts/studies/label_order_table.py scripts/studies/label_order
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from _cells import one_line_errors, paired_difference, read_cells

_ORDER = ("random", "diverse", "uncertain", "mix", "listed")


def make_table(cells: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line a RUN and order, then a line a RUN of what proposals save."""
    lines = [
        "| set | order | draws | images for 20, 40 boxed | heads at 20 | difference from random "
        "| heads at 40 | difference | answers at 20, 40 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in sorted({cell["run"] for cell in cells}):
        of_run = [cell for cell in cells if cell["run"] == run]
        control = [cell for cell in of_run if cell["order"] == "random"]
        for order in [name for name in _ORDER if any(c["order"] == name for c in of_run)]:
            ours = [cell for cell in of_run if cell["order"] == order]
            lines.append(_line(run, order, ours, control))
    return "\n".join(lines) + "\n\n" + _pace_table(cells)


def _line(run: str, order: str, ours: list[dict[str, Any]], control: list[dict[str, Any]]) -> str:
    def mean(at: str, name: str) -> float:
        return statistics.mean(cell["boxes"][at][name] for cell in ours)

    cells = [
        run,
        order,
        str(len(ours)),
        ", ".join(f"{mean(at, 'images'):.0f}" for at in _boxes_of(ours)),
    ]
    for at in _boxes_of(ours):
        cells += [f"{mean(at, 'heads'):.3f}"]
        cells += ["" if order == "random" else difference(ours, control, at)]
    cells += [", ".join(f"{mean(at, 'answers'):.3f}" for at in _boxes_of(ours))]
    return f"| {' | '.join(cells)} |"


def _boxes_of(cells: Sequence[dict[str, Any]]) -> list[str]:
    """At how many boxed images they were judged."""
    return sorted({at for cell in cells for at in cell["boxes"]}, key=int)


def difference(ours: Sequence[dict[str, Any]], control: Sequence[dict[str, Any]], at: str) -> str:
    """`paired_difference` of the heads at so many boxed images, draw by draw."""
    judged = (
        [
            {**cell, "dice": cell["boxes"][at]["heads_dice"], "groups": cell["lesion_groups"]}
            for cell in cells
        ]
        for cells in (ours, control)
    )
    return paired_difference(*judged, "draw")


def _pace_table(cells: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| set | images | boxes on them | drawn without proposals, a hundred images | drawn with "
        "| accepted | seconds an image without | with |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in sorted({cell["run"] for cell in cells}):
        paces = [
            c["pace"] for c in cells if (c["run"], c["order"], c["draw"]) == (run, "random", 0)
        ]
        if paces:
            total = {name: sum(pace[name] for pace in paces) for name in paces[0]}
            images, boxes = total["images"], total["drawn"] + total["accepted"]
            lines.append(
                f"| {run} | {images} | {boxes} | {100 * boxes / images:.0f} "
                f"| {100 * total['drawn'] / images:.0f} | {total['accepted'] / boxes:.0%} "
                f"| {total['seconds_alone'] / images:.1f} | {total['seconds'] / images:.1f} |"
            )
    return "\n".join(lines) + "\n"


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help="\b\n" + (__doc__ or "").replace("\n\n", "\n\n\b\n"))
def main(
    cells: Annotated[Path, typer.Argument(help="The folder of the cells' files.")],
) -> None:
    with one_line_errors():
        typer.echo(make_table(read_cells(cells, "*-*-*.json")))


if __name__ == "__main__":
    app()
