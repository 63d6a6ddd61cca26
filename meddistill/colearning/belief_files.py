"""What was believed of unboxed images, on disk: for the other processes of a job, and for a
training that is taken up again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from meddistill.base.csv_tables import write_table
from meddistill.base.files import atomic_path
from meddistill.colearning.beliefs import Belief, Calibration
from meddistill.colearning.unboxed import ColearningRow, Outcome
from meddistill.run.layout import BELIEFS_AGAIN_NPZ, BELIEFS_NPZ, COLEARNING_CSV


def save_beliefs(directory: Path, outcome: Outcome, name: str = BELIEFS_NPZ) -> None:
    """Write colearning.csv, and the believed masks as `name`, which are there last: then all is."""
    write_table(directory / COLEARNING_CSV, ColearningRow, outcome.rows)
    beliefs = outcome.beliefs
    with atomic_path(directory / name) as temporary:
        np.savez_compressed(
            temporary,
            case_ids=np.array(list(beliefs)),
            probs=np.stack([_to_bytes(belief.probs) for belief in beliefs.values()]),
            weights=np.array([belief.weight for belief in beliefs.values()]),
            sources=np.array([belief.source for belief in beliefs.values()]),
            sureness=outcome.calibration.sureness,
            expected_dice=outcome.calibration.dice,
        )


def load_beliefs(directory: Path) -> Mapping[str, Belief]:
    """The newest beliefs by case id: the student's and the heads' where both were asked; masks
    rounded to 1/255."""
    names = (BELIEFS_AGAIN_NPZ, BELIEFS_NPZ)
    newest = next(name for name in names if (directory / name).exists() or name == BELIEFS_NPZ)
    return read_beliefs(directory / newest)[0]


def read_beliefs(path: Path) -> tuple[Mapping[str, Belief], Calibration]:
    """The beliefs of one file, and what sureness was worth when they were settled."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        columns = [arrays[name] for name in ("case_ids", "probs", "weights", "sources")]
        known = ("sureness", "expected_dice")
        # A RUN that was begun before has none, and asks no student.
        none = np.zeros(0)
        calibration = Calibration(*(arrays.get(name, none) for name in known))
    beliefs = {
        str(case_id): Belief(probs.astype(np.float32) / 255, float(weight), str(source))
        for case_id, probs, weight, source in zip(*columns, strict=True)
    }
    return beliefs, calibration


def _to_bytes(probs: np.ndarray) -> np.ndarray:
    return np.rint(probs * 255).astype(np.uint8)
