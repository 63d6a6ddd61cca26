"""A drawn data set for studies: series of two slices, in three folds by turns."""

import csv
from pathlib import Path

from meddistill.data.sources.phantom import write_phantom


def write_study_source(root: Path) -> Path:
    """24 slices of 64 px with masks, and groups.csv of fold and series; returns the folder."""
    source = root / "source"
    write_phantom(source, cases=24, seed=0, size=64)
    names = sorted(path.stem for path in (source / "images").iterdir())
    with (source / "groups.csv").open("w", newline="") as file:
        rows = [(name, index // 2 % 3 + 1, f"s{index // 2}") for index, name in enumerate(names)]
        csv.writer(file).writerows([("id", "fold", "series"), *rows])
    return source
