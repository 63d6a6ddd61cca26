"""The tables of the study of several findings. No study of its own: `findings.py --table FOLDER` prints
them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from _findings_judge import NOTHING
from _findings_sets import ARMS, SETS, STUDENT


def make_table(cells: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, a line a set, finding and arm: means over the seeds, each seed's Dice."""
    lines = [
        "| set | finding | arm | Dice | each seed | units | not found | false alarms "
        "| minutes a cell |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for set_name in SETS:
        of_set = [cell for cell in cells if cell["set_name"] == set_name]
        names = dict.fromkeys(name for cell in of_set for name in cell["findings"])
        for finding in names:
            for arm in ARMS:
                of_arm = [c for c in of_set if c["arm"] == arm and finding in c["findings"]]
                if of_arm:
                    lines.append(_line(set_name, finding, arm, of_arm))
    return "\n".join(lines) + "\n" + _confusions(cells)


def _line(set_name: str, finding: str, arm: str, cells: Sequence[dict[str, Any]]) -> str:
    told = [cell["findings"][finding] for cell in cells]
    dice = [of["dice"] for of in told if of["dice"] is not None]
    seeds = ", ".join(f"{value:.3f}" for value in dice) if len(dice) > 1 else ""
    alarms = ", ".join(str(of["false_alarms"]) for of in told)
    minutes = statistics.mean(cell["seconds"]["wall"] for cell in cells) / 60
    return " | ".join(
        [
            f"| {set_name}",
            finding,
            arm,
            f"{statistics.mean(dice):.3f}" if dice else "",
            seeds,
            str(told[0]["units"]),
            ", ".join(str(of["not_found"]) for of in told),
            f"{alarms} of {told[0]['without']}" if told[0]["without"] else "",
            f"{minutes:.0f} |",
        ]
    )


def _confusions(cells: Iterable[dict[str, Any]]) -> str:
    """What findings were taken for, of each set's first student of several."""
    text = ""
    seen = set()
    for cell in cells:
        if cell["arm"] != STUDENT or cell["set_name"] in seen or len(cell["findings"]) < 2:
            continue
        seen.add(cell["set_name"])
        names = [*cell["findings"], NOTHING]
        text += f"\n| {cell['set_name']}: is, taken for | {' | '.join(names)} |\n"
        text += "|---" * (len(names) + 1) + "|\n"
        for name, row in cell["confusion"].items():
            text += f"| {name} | {' | '.join(str(row[other]) for other in names)} |\n"
        healthy = cell["healthy"]
        if healthy["units"]:
            text += f"\n{healthy['false_alarms']} false alarms on {healthy['units']} without any\n"
    return text
