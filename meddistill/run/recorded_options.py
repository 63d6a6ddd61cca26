"""The options of a stage as a RUN recorded them: a command that is advised says them again."""

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
from meddistill.settings.detect import DetectConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig

WITHOUT_GPU = "litemedsam"
"""The teacher that a CPU can be asked, and whose masks `label` shows unless told otherwise."""
_PLAIN = {
    "distill": lambda: identity.of_distill(DistillConfig(), 0),
    "detect": lambda: identity.of_detect(DetectConfig(), 0),
    "eval": lambda: identity.of_eval(EvalConfig(), 0),
}
_FLAGS = {
    "distill": {
        "teacher": "--teacher",
        "boxes_file": "--boxes",
        "warm_start": "--from",
        "epochs": "--epochs",
        "batch_size": "--batch-size",
    },
    "detect": {"epochs": "--epochs", "confidence": "--confidence"},
    "eval": {
        "split": "--split",
        "threshold": "--threshold",
        "findings": "--findings",
        "min_component_px": "--min-component-px",
    },
}
_SWITCHES = {
    "train": "--no-train",
    "flip_average": "--flip-average",
    "keep_largest": "--keep-largest",
}
"""What to type for the other value than the default."""
_OTHER, _NAME, _FOREIGN = "other", "name of other", "foreign "
"""What `eval` calls the masks of another tool, its name and images not its own among its inputs, whose
folders it does not record."""
_RANDOM = ", random weights"
_FEW = ("lr", "weight_decay", "feature_weight", "colearning.boxed_share")


def teacher_to_name(run: RunDir) -> str | None:
    """The teacher for `distill --teacher`: that whose files RUN holds, else one that suits a machine
    without a GPU; None where that is the default."""
    found = _teacher_of(run.teacher) or _encoded_by(run.teacher / ENCODINGS)
    if found is None and not has_gpu():
        found = WITHOUT_GPU
    return None if found == DistillConfig().teacher else found


def options_of(stage: str, record: Mapping[str, Any]) -> list[str]:
    """What to type after `distill RUN`, `detect RUN` or `eval RUN` for what run.json records of it; what
    `distill` decides from the data is left to it. A folder that is not recorded is DIR."""
    found = dict(_flat(record.get("settings", {})))
    decided = _decided(found) if stage == "distill" else set()
    words = []
    for key, default in _flat(_PLAIN[stage]()):
        value = found.get(key, default)
        if value == default or key in decided:
            continue
        flag = "--seed" if key == "seed" else _FLAGS[stage].get(key)
        if key in _SWITCHES:
            words.append(_SWITCHES[key])
        elif flag and isinstance(value, list):
            words += [flag, ",".join(value)]
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            words += [flag, text] if flag else ["--set", f"{stage}.{key}={text}"]
    return words + _given(stage, record)


def recorded(directory: Path) -> dict[str, Any]:
    """The record of what a directory holds, finished or not; {} where there is none."""
    for path in (directory / RUN_JSON, directory / UNFINISHED_JSON):
        if path.exists():
            try:
                found = read_json(path)
            except InputError:
                continue
            parts = ("settings", "inputs", "results")
            if isinstance(found, dict) and all(isinstance(found.get(p, {}), dict) for p in parts):
                return found
    return {}


def _decided(found: Mapping[str, Any]) -> set[str]:
    """The settings that `distill` chose by itself."""
    decided = {"colearning.unboxed", "tiles"}
    if found.get("colearning.unboxed") in ("propose", "carry"):
        decided |= set(_FEW)
    if found.get("tiles") == "always":
        decided.add("feature_weight")
    return decided


def _given(stage: str, record: Mapping[str, Any]) -> list[str]:
    """What to type for inputs that are named by options."""
    inputs = record.get("inputs", {})
    if stage == "detect":
        start = str(record.get("results", {}).get("start", ""))
        name = start.removesuffix(_RANDOM)
        if start != name and name != inputs.get("weights"):
            name = Path(name).with_suffix(".pt").name  # there was no network to fetch it
        return ["--weights", name] if name not in ("", DetectConfig().weights) else []
    words = []
    if stage == "eval" and _OTHER in inputs:
        words += ["--masks-from", "DIR"]
        words += ["--name", inputs[_NAME]] if _NAME in inputs else []
    for name in inputs:
        if stage == "eval" and name.startswith(_FOREIGN):
            words += ["--foreign", f"{name.removeprefix(_FOREIGN)}=DIR"]
    return words


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _teacher_of(teacher_dir: Path) -> str | None:
    name = recorded(teacher_dir).get("settings", {}).get("teacher")
    return name if isinstance(name, str) else None


def _encoded_by(encodings: Path) -> str | None:
    """Whose encodings `label` left; of before it signed them, those of its usual teacher."""
    try:
        return (encodings / TEACHER_TXT).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return WITHOUT_GPU if any(encodings.glob("*.npz")) else None
