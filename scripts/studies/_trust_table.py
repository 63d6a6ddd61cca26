"""The tables of the study of trust. No study of its own: `trust.py --table FOLDER` prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SENSITIVITY = 0.9
UNNOTICED = 0.5
"""A change that fewer images than this are flagged for is called not noticed."""


def make_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: expectations and calibration by cell, false alarms, flags by set, what is missed."""
    parts = [_expected(cells), _present(cells), _flags(cells), _unnoticed(cells)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _name(cell: Mapping[str, Any]) -> str:
    fold = "" if cell["fold"] is None else f", fold {cell['fold']}"
    return f"{cell['set_name']}{fold}, seed {cell['seed']}"


def _expected(cells: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        "| student | with a lesion | Dice | Spearman (with the teacher) | error | held | width (constant) "
        "| all, kept, oracle, confidence | ECE around | ECE all | refined |",
        "|" + "---|" * 11,
    ]
    for cell in cells:
        expected, asked = cell["expected"], cell["asked"]
        around, everywhere = (
            " to ".join(
                f"{cell['calibration'][where][when]['ece']:.3f}" for when in ("before", "after")
            )
            for where in ("around", "all")
        )
        told = ["unknown"] * 6
        if expected is not None:
            told = [
                f"{expected['dice']:.3f}",
                _both(expected, asked, "spearman", ".2f"),
                _both(expected, asked, "mean_error", ".3f"),
                _both(expected, asked, "covered", ".0%"),
                f"{_both(expected, asked, 'width', '.2f')} ({expected['constant_width']:.2f})",
                _kept(cell["rejection"]),
            ]
        refined = (
            ""
            if asked is None
            else f"{asked['refine']['dice']:.3f} to {asked['refine']['refined']:.3f}"
        )
        line = [_name(cell), str(cell["with_lesion"]), *told, around, everywhere, refined]
        rows.append(f"| {' | '.join(line)} |")
    return "\n".join(rows)


def _both(alone: Mapping[str, float], asked: Mapping[str, Any] | None, key: str, form: str) -> str:
    with_teacher = "" if asked is None else f" ({asked['expected'][key]:{form}})"
    return f"{alone[key]:{form}}{with_teacher}"


def _kept(rejection: Mapping[str, Any]) -> str:
    kept = [rejection[which]["kept"] for which in ("expected", "oracle", "confidence")]
    return ", ".join(f"{value:.3f}" for value in (rejection["all"], *kept))


def false_alarms(odds: Sequence[Sequence[float]], sensitivity: float) -> tuple[float, float] | None:
    """The share of images without a lesion that are called where at least so many of those with one
    are, and that sensitivity; None where either kind is missing."""
    told = [(value, there) for value, there in odds if value is not None]
    with_lesion = np.sort([value for value, there in told if there])[::-1]
    without = np.array([value for value, there in told if not there])
    if not len(with_lesion) or not len(without):
        return None
    cut = with_lesion[int(np.ceil(sensitivity * len(with_lesion) - 1e-9)) - 1]
    return float((without >= cut).mean()), float((with_lesion >= cut).mean())


def _present(cells: Sequence[Mapping[str, Any]]) -> str:
    pooled: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for cell in cells:
        pooled.setdefault((cell["set_name"], cell["seed"]), []).append(cell)
    rows = []
    for (name, seed), of_set in pooled.items():
        odds = [each for cell in of_set for each in cell["odds"]]
        found = false_alarms(odds, SENSITIVITY)
        if found is None:
            continue
        without = sum(not there for _, there in odds)
        rows.append(
            f"| {name}, seed {seed} ({len(of_set)} fold(s)) | {len(odds) - without} | {without} "
            f"| {found[1]:.3f} | {found[0]:.3f} | {_at_own_cut(of_set)} |"
        )
    if not rows:
        return ""
    head = (
        "| student | with | without | sensitivity | false alarms there | at its own cut: sensitivity, "
        "false alarms |\n|---|---|---|---|---|---|"
    )
    return "\n".join([head, *rows])


def _at_own_cut(cells: Sequence[Mapping[str, Any]]) -> str:
    told = [cell["present"] for cell in cells if cell["present"] is not None]
    found = []
    for share, count in (("sensitivity", "with"), ("false_rate", "without")):
        known = [each for each in told if each[share] is not None]
        total = sum(each[count] for each in known)
        found.append(
            f"{sum(each[share] * each[count] for each in known) / total:.3f}" if total else "-"
        )
    return ", ".join(found)


def _flags(cells: Sequence[Mapping[str, Any]]) -> str:
    found = _by_set_and_kind(cells)
    rows = [
        "| student of | images | kind | unfamiliar | odd | either | where 1 of 20 own is | area under ROC "
        "| Dice loss |",
        "|" + "---|" * 9,
    ]
    for (set_name, kind, name), told in found.items():
        numbers = [
            _mean(told, key, form)
            for key, form in (
                ("unfamiliar", ".2f"),
                ("odd", ".2f"),
                ("either", ".2f"),
                ("as_own", ".2f"),
                ("auroc", ".3f"),
                ("dice_loss", ".3f"),
            )
        ]
        count = sum(each["images"] for each in told)
        rows.append(f"| {set_name} | {name} ({count}) | {kind} | {' | '.join(numbers)} |")
    return "\n".join(rows)


def _unnoticed(cells: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for (set_name, kind, name), told in _by_set_and_kind(cells).items():
        share = float(np.mean([each["either"] for each in told]))
        if kind in ("far", "near", "spoiled", "drawn") and share < UNNOTICED:
            rows.append(
                f"| {set_name} | {name} | {share:.2f} | {_mean(told, 'dice_loss', '.3f')} |"
            )
    if not rows:
        return ""
    return "\n".join(
        [
            "Not noticed:",
            "",
            "| student of | images | flagged | Dice loss |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _by_set_and_kind(
    cells: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str, str], list[Mapping[str, Any]]]:
    """By set, kind and name of the images the flags of all its cells."""
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        for kind, sets in cell["flags"].items():
            for name, of in sets.items():
                found.setdefault((cell["set_name"], kind, name), []).append(of)
    return found


def _mean(told: Sequence[Mapping[str, Any]], key: str, form: str) -> str:
    known = [each[key] for each in told if key in each]
    return f"{np.mean(known):{form}}" if known else ""
