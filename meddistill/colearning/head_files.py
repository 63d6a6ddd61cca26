"""The heads of a co-learning on disk: what proposed on unboxed images can propose on others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from meddistill.base.files import DAMAGED_ARCHIVE, atomic_path
from meddistill.colearning.cell_head import CellHead
from meddistill.run.layout import HEADS_NPZ
from meddistill.teachers.teacher import DECODED_LEVEL

_THRESHOLD, _LEVELS = "threshold", "levels"


@dataclasses.dataclass(frozen=True)
class Heads:
    """The heads of the last round, and of each finding the probability from which their mean map
    shows it."""

    heads: Sequence[CellHead]
    thresholds: Sequence[float]


def save_heads(directory: Path, heads: Sequence[CellHead], thresholds: Sequence[float]) -> None:
    """Write heads.npz: `threshold`, of several findings (C,), of head N each tensor as `N.NAME`,
    float32, and the teacher's `levels` that they read."""
    arrays = {
        f"{number}.{name}": tensor.numpy()
        for number, head in enumerate(heads)
        for name, tensor in head.state_dict().items()
    }
    with atomic_path(directory / HEADS_NPZ) as temporary:
        threshold = np.array(thresholds if len(thresholds) > 1 else thresholds[0])
        told = {_THRESHOLD: threshold, _LEVELS: np.array(heads[0].levels)}
        np.savez(temporary, **told, **arrays)  # type: ignore[arg-type]


def load_heads(directory: Path) -> Heads | None:
    """The heads of a student's directory, in eval mode; None where there are none, or none that can
    be read."""
    try:
        with (directory / HEADS_NPZ).open("rb") as file, np.load(file, allow_pickle=False) as found:
            # Those of an earlier version read one level and do not say so.
            levels = found[_LEVELS].tolist() if _LEVELS in found.files else [DECODED_LEVEL]
            arrays = {
                name: torch.from_numpy(found[name]) for name in found.files if name != _LEVELS
            }
            thresholds = arrays.pop(_THRESHOLD).reshape(-1).tolist()
            states: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in arrays.items():
                number, _, key = name.partition(".")
                states.setdefault(int(number), {})[key] = tensor
            heads = [_head(states[number], levels) for number in sorted(states)]
    except DAMAGED_ARCHIVE:
        return None
    return Heads(heads, thresholds)


def _head(state: dict[str, torch.Tensor], levels: Sequence[str]) -> CellHead:
    *_, last_bias = state.values()
    # A training that is taken up again loads none: its random numbers must not depend on it.
    with torch.random.fork_rng(devices=[]):
        head = CellHead(state["mean"], state["deviation"], len(last_bias), levels)
    head.load_state_dict(state)
    return head.requires_grad_(False).eval()
