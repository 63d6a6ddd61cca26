"""Where the true masks of a RUN lie: for `prepare`, which puts them there, and for evaluation.
Never for training."""

from __future__ import annotations

from pathlib import Path

from meddistill.run.tables import Case


def mask_path(data_dir: Path, case: Case) -> Path:
    """The case's true mask, 0/255. For evaluation only: nothing under `stages/distill` may call
    this."""
    return data_dir / f"masks/{case.split}/{case.case_id}.png"
