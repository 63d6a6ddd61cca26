"""The table of the study of the ceiling. No study of its own: `ceiling.py --table FOLDER` prints it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from _ceiling_arms import ARMS, DEFAULT
from _cells import paired_difference


def make_table(cells: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, a line a set and arm: means over its seeds, and the paired difference with
    the default of the same seeds."""
    lines = [
        "| set | arm | seeds | Dice | with flips | smallest quarter | no pixel hit "
        "| against default (95 % interval) | px | parameters, M | step, s | epochs | minutes |",
        "|---" * 13 + "|",
    ]
    for set_name in dict.fromkeys(cell["set_name"] for cell in cells):
        of_set = [cell for cell in cells if cell["set_name"] == set_name]
        lines += [
            _line(found, [cell for cell in of_set if cell["arm"] == DEFAULT])
            for arm in ARMS
            if (found := [cell for cell in of_set if cell["arm"] == arm])
        ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[dict[str, Any]], default: Sequence[dict[str, Any]]) -> str:
    first = cells[0]

    def mean(name: str, digits: int) -> str:
        return f"{statistics.mean(cell[name] for cell in cells):.{digits}f}"

    facts = [
        first["set_name"],
        first["arm"],
        str(len(cells)),
        mean("dice_mean", 3),
        mean("dice_flips_mean", 3),
        mean("smallest_quarter", 3),
        mean("no_pixel_hit", 0),
        "" if first["arm"] == DEFAULT else paired_difference(cells, default, "seed"),
        str(first["image_size"]),
        f"{first['parameters'] / 1e6:.2f}",
        mean("step_s", 2),
        mean("epochs", 0),
        f"{statistics.mean(cell['seconds']['wall'] for cell in cells) / 60:.0f}",
    ]
    return f"| {' | '.join(facts)} |"
