"""What was believed of unboxed images, on disk: for the other processes of a job, and for a
training that is taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meddistill.base.csv_tables import write_table
from meddistill.base.files import atomic_path
from meddistill.colearning.beliefs import Belief, Beliefs, Calibration, OfCase
from meddistill.colearning.colearning_row import ColearningRow
from meddistill.colearning.unboxed import Outcome
from meddistill.run.layout import BELIEFS_AGAIN_NPZ, BELIEFS_NPZ, COLEARNING_CSV

_NO_SOURCE = ""
_KNOWN = ("sureness", "expected_dice")


def save_beliefs(directory: Path, outcome: Outcome, name: str = BELIEFS_NPZ) -> None:
    """Write colearning.csv, and the believed masks as `name`, which are there last: then all is.

    Of one finding `probs` is (N, S, S), `weights` and `sources` (N,), and `sureness` with
    `expected_dice` the calibration; of several the first three are (N, C, ...), with an empty
    source where somebody looked, and calibrations are numbered.
    """
    write_table(directory / COLEARNING_CSV, ColearningRow, outcome.rows)
    every = list(outcome.beliefs.values())
    probs = np.stack([_planes(of_case) for of_case in every])
    weights = np.array([[0.0 if b is None else b.weight for b in of_case] for of_case in every])
    sources = np.array([[_NO_SOURCE if b is None else b.source for b in of] for of in every])
    one = probs.shape[1] == 1
    calibrations = {
        key if one else f"{key}-{place}": values
        for place, each in enumerate(outcome.calibrations)
        for key, values in zip(_KNOWN, (each.sureness, each.dice), strict=True)
    }
    with atomic_path(directory / name) as temporary:
        np.savez_compressed(
            temporary,
            case_ids=np.array(list(outcome.beliefs)),
            probs=probs[:, 0] if one else probs,
            weights=weights[:, 0] if one else weights,
            sources=sources[:, 0] if one else sources,
            **calibrations,  # type: ignore[arg-type]
        )


def load_beliefs(directory: Path) -> Beliefs:
    """The newest beliefs: the student's and the heads' where both were asked; masks rounded to
    1/255."""
    names = (BELIEFS_AGAIN_NPZ, BELIEFS_NPZ)
    newest = next(name for name in names if (directory / name).exists() or name == BELIEFS_NPZ)
    return read_beliefs(directory / newest)[0]


def read_beliefs(path: Path) -> tuple[Beliefs, Sequence[Calibration]]:
    """The beliefs of one file, and by finding what sureness was worth when they were settled."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        ids, probs, weights, sources = (
            arrays[name] for name in ("case_ids", "probs", "weights", "sources")
        )
        if probs.ndim == 3:
            probs, weights, sources = probs[:, None], weights[:, None], sources[:, None]
        # A RUN that was begun before has none, and asks no student.
        none = np.zeros(0)
        count = probs.shape[1]
        calibrations = [
            Calibration(
                *(arrays.get(name if count == 1 else f"{name}-{place}", none) for name in _KNOWN)
            )
            for place in range(count)
        ]
    beliefs = {
        str(case_id): tuple(
            Belief(plane.astype(np.float32) / 255, float(weight), str(source)) if source else None
            for plane, weight, source in zip(*of_case, strict=True)
        )
        for case_id, *of_case in zip(ids, probs, weights, sources, strict=True)
    }
    return beliefs, calibrations


def _planes(of_case: OfCase) -> np.ndarray:
    """(C, S, S) uint8."""
    blank = np.zeros_like(next(belief.probs for belief in of_case if belief is not None))
    planes = [blank if belief is None else belief.probs for belief in of_case]
    return np.rint(np.stack(planes) * 255).astype(np.uint8)
