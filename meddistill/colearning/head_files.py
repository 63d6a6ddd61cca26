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

_THRESHOLD = "threshold"


@dataclasses.dataclass(frozen=True)
class Heads:
    """The heads of the last round, and of each finding the probability from which their mean map
    shows it."""

    heads: Sequence[CellHead]
    thresholds: Sequence[float]


def save_heads(directory: Path, heads: Sequence[CellHead], thresholds: Sequence[float]) -> None:
    """Write heads.npz: `threshold`, of several findings (C,), and of head N each tensor as `N.NAME`,
    float32."""
    arrays = {
        f"{number}.{name}": tensor.numpy()
        for number, head in enumerate(heads)
        for name, tensor in head.state_dict().items()
    }
    with atomic_path(directory / HEADS_NPZ) as temporary:
        threshold = np.array(thresholds if len(thresholds) > 1 else thresholds[0])
        np.savez(temporary, **{_THRESHOLD: threshold, **arrays})  # type: ignore[arg-type]


def load_heads(directory: Path) -> Heads | None:
    """The heads of a student's directory, in eval mode; None where there are none, or none that can
    be read."""
    try:
        with (directory / HEADS_NPZ).open("rb") as file, np.load(file, allow_pickle=False) as found:
            arrays = {name: torch.from_numpy(found[name]) for name in found.files}
            thresholds = arrays.pop(_THRESHOLD).reshape(-1).tolist()
            states: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in arrays.items():
                number, _, key = name.partition(".")
                states.setdefault(int(number), {})[key] = tensor
            heads = [_head(states[number]) for number in sorted(states)]
    except DAMAGED_ARCHIVE:
        return None
    return Heads(heads, thresholds)


def _head(state: dict[str, torch.Tensor]) -> CellHead:
    *_, last_bias = state.values()
    # A training that is taken up again loads none: its random numbers must not depend on it.
    with torch.random.fork_rng(devices=[]):
        head = CellHead(state["mean"], state["deviation"], len(last_bias))
    head.load_state_dict(state)
    return head.requires_grad_(False).eval()
