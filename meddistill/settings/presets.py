"""What each `distill.size` sets: a layer of settings under the user's own (`layers`).

Nothing else knows of a preset: a stage sees the settings, and so does run.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # Of `configs/brain_tumor_cpu.yaml`: a student takes a quarter of an hour on two cores.
    "small": {
        "image_size": 192,
        "epochs": 8,
        "lr": 1e-3,
        "targets": {"jitter_copies": 4, "views": "whole"},
    },
    # The defaults as they stand in `DistillConfig`.
    "standard": {},
    "best": {
        "encoder": "tu-tf_efficientnet_lite2",
        "image_size": 320,
        "epochs": 60,
        "ema_decay": 0.995,
        # Of long training the last epoch is better than the one that a few cases like best.
        "keep": "last",
    },
}
"""Settings of `distill` by the name of the preset; a section inside is a dict."""


def told_of_preset(size: str, distill: Any) -> str:
    """A line on what the preset set in `distill` (a DistillConfig), and what the user had otherwise;
    empty where it sets nothing."""
    flat = dict(_flat(PRESETS[size], distill))
    stands = [f"{key}={ours}" for key, (ours, found) in flat.items() if ours == found]
    yours = [f"{key}={found}" for key, (ours, found) in flat.items() if ours != found]
    if not flat:
        return ""
    told = f"distill.size={size} sets {', '.join(stands) or 'nothing'}"
    return told + (f"; yours: {', '.join(yours)}" if yours else "")


def _flat(preset: Mapping[str, Any], section: Any, prefix: str = "") -> Any:
    """Each key with the preset's value and that of `section`."""
    for name, value in preset.items():
        found = getattr(section, name)
        if isinstance(value, Mapping):
            yield from _flat(value, found, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", (value, found)
