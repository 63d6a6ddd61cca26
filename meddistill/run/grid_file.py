"""grid.json of prepared data: the grid that all its images lie on, where `prepare.spacing_mm` asked for
one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.files import read_json, write_json
from meddistill.data.grid import Grid
from meddistill.run.layout import GRID_JSON


def read_grid(data_dir: Path) -> Grid | None:
    """None for images with their own pixels. Raises: InputError for a damaged file."""
    path = data_dir / GRID_JSON
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        return Grid(float(found["spacing_mm"]), int(found["side_px"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}; run `meddistill prepare` again") from error


def write_grid(data_dir: Path, grid: Grid) -> None:
    write_json(data_dir / GRID_JSON, dataclasses.asdict(grid))
