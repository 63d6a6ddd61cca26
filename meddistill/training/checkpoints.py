"""Checkpoints of a training run: the last two, each whole or not there at all."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from meddistill.base.console import say, warn
from meddistill.base.files import atomic_path
from meddistill.run.layout import LAST_CKPT, PREVIOUS_CKPT

KEYS = frozenset(
    {
        "epoch",
        "step",
        "sums",
        "model",
        "average",
        "average_steps",
        "optimizer",
        "best",
        "rng",
        "history",
        "skipped",
    }
)
"""What a checkpoint holds: finished epochs, steps of the one after, and the state at that moment.
"""

BEFORE: Mapping[str, Any] = {}
"""For each key that was added after RUNs had been begun: what its absence in a checkpoint means."""


def save_checkpoint(out: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, texts; the keys are `KEYS`) as the last checkpoint; the one
    before is kept."""
    if state.keys() != KEYS:
        raise ValueError(f"expected the keys {sorted(KEYS)}, got {sorted(state)}")
    last = out / LAST_CKPT
    with atomic_path(last) as temporary:
        torch.save(dict(state), temporary)
        if last.exists():
            os.replace(last, out / PREVIOUS_CKPT)


def load_checkpoint(out: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, on the CPU; None where there is none. Damaged ones
    are named."""
    damaged = False
    for path in (out / LAST_CKPT, out / PREVIOUS_CKPT):
        if not path.exists():
            continue
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or not state.keys() >= KEYS - BEFORE.keys():
                raise ValueError
            state = {**BEFORE, **state}
        except (
            RuntimeError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            OSError,
            pickle.UnpicklingError,
        ):
            damaged = True
            warn(f"{path} is damaged, or of another version")
            continue
        if damaged:
            say(f"training goes on from the checkpoint before, {path}")
        return state
    if damaged:
        say("no checkpoint can be read: training starts again")
    return None
