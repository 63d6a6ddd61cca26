"""Where the images of a RUN lie."""

from __future__ import annotations

from pathlib import Path

from meddistill.run.tables import Case


def image_path(data_dir: Path, case: Case) -> Path:
    return data_dir / case.image
