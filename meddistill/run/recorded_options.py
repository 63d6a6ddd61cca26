"""The options of `distill` as a RUN recorded them: a command that is advised says them again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meddistill.base.accelerator import has_gpu
from meddistill.base.errors import InputError
from meddistill.base.files import read_json
from meddistill.run.layout import ENCODINGS, RUN_JSON, TEACHER_TXT, UNFINISHED_JSON, RunDir
from meddistill.settings import identity
from meddistill.settings.distill import DistillConfig

WITHOUT_GPU = "litemedsam"
"""The teacher that a CPU can be asked, and whose masks `label` shows unless told otherwise."""
_FLAGS = {
    "teacher": "--teacher",
    "boxes_file": "--boxes",
    "warm_start": "--from",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "seed": "--seed",
}
_FEW = ("lr", "weight_decay", "feature_weight", "colearning.boxed_share")


def teacher_to_name(run: RunDir) -> str | None:
    """The teacher for `distill --teacher`: that whose files RUN holds, else one that suits a machine
    without a GPU; None where that is the default."""
    found = _recorded(run.teacher) or _encoded_by(run.teacher / ENCODINGS)
    if found is None and not has_gpu():
        found = WITHOUT_GPU
    return None if found == DistillConfig().teacher else found


def options_of(settings: Mapping[str, Any]) -> list[str]:
    """What to type after `distill RUN` for a student of these recorded settings; what `distill`
    decides from the data is left to it."""
    plain = dict(_flat(identity.of_distill(DistillConfig(), 0)))
    found = dict(_flat(settings))
    decided = {"colearning.unboxed", "tiles"}
    if found.get("colearning.unboxed") in ("propose", "carry"):
        decided |= set(_FEW)
    if found.get("tiles") == "always":
        decided.add("feature_weight")
    words = []
    for key, default in plain.items():
        value = found.get(key, default)
        if value == default or key in decided:
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        words += [_FLAGS[key], text] if key in _FLAGS else ["--set", f"distill.{key}={text}"]
    return words


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _recorded(teacher_dir: Path) -> str | None:
    for path in (teacher_dir / RUN_JSON, teacher_dir / UNFINISHED_JSON):
        if path.exists():
            try:
                name = read_json(path)["settings"]["teacher"]
            except (InputError, KeyError, TypeError):
                continue
            return name if isinstance(name, str) else None
    return None


def _encoded_by(encodings: Path) -> str | None:
    """Whose encodings `label` left; of before it signed them, those of its usual teacher."""
    try:
        return (encodings / TEACHER_TXT).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return WITHOUT_GPU if any(encodings.glob("*.npz")) else None
