"""What an earlier prediction left in the folder of a later one: masks of images that were renamed or
taken away since lie beside the others, and nothing but their names tells them apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from meddistill.base import console
from meddistill.data.sources.walking import is_clutter
from meddistill.run.layout import PREDICTIONS_CSV
from meddistill.student.predicted_journal import Done
from meddistill.student.review_sheet import REVIEW
from meddistill.student.scan_writing import MASKS, OVERLAYS, PROBABILITIES

FOLDERS = (MASKS, PROBABILITIES, OVERLAYS, REVIEW)
"""Where in its output a prediction writes a file a scan."""


def tell_of_left_over(out: Path, done: Iterable[Done]) -> None:
    """Warn of files in `FOLDERS` that are of none of the scans that were `done`; nothing is removed."""
    own = {name for each in done for name in each.written}
    there = (
        path
        for folder in FOLDERS
        for path in (out / folder).rglob("*")
        if path.is_file() and not is_clutter(path)
    )
    left = sorted(name for path in there if (name := path.relative_to(out).as_posix()) not in own)
    if left:
        console.warn(
            f"{len(left)} file(s) in {out} are of an earlier prediction and of none of these images "
            f"(first: {left[0]}), nor in {PREDICTIONS_CSV}: remove them, or pass --overwrite to do all "
            "anew"
        )
