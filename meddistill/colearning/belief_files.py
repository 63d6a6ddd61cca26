"""What was believed of unboxed images, on disk: for the other processes of a job, and for a
training that is taken up again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from meddistill.base.csv_tables import write_table
from meddistill.base.files import atomic_path
from meddistill.colearning.beliefs import Belief
from meddistill.colearning.unboxed import ColearningRow, Outcome
from meddistill.run.layout import BELIEFS_NPZ, COLEARNING_CSV


def save_beliefs(directory: Path, outcome: Outcome) -> None:
    """Write colearning.csv, and the believed masks, which are there last: then all is."""
    write_table(directory / COLEARNING_CSV, ColearningRow, outcome.rows)
    beliefs = outcome.beliefs
    with atomic_path(directory / BELIEFS_NPZ) as temporary:
        np.savez_compressed(
            temporary,
            case_ids=np.array(list(beliefs)),
            probs=np.stack([_to_bytes(belief.probs) for belief in beliefs.values()]),
            weights=np.array([belief.weight for belief in beliefs.values()]),
            sources=np.array([belief.source for belief in beliefs.values()]),
        )


def load_beliefs(directory: Path) -> Mapping[str, Belief]:
    """The beliefs by case id; masks rounded to 1/255."""
    with (directory / BELIEFS_NPZ).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        columns = [arrays[name] for name in ("case_ids", "probs", "weights", "sources")]
    return {
        str(case_id): Belief(probs.astype(np.float32) / 255, float(weight), str(source))
        for case_id, probs, weight, source in zip(*columns, strict=True)
    }


def _to_bytes(probs: np.ndarray) -> np.ndarray:
    return np.rint(probs * 255).astype(np.uint8)
