"""Which teachers there are, and how each is loaded by name."""

from __future__ import annotations

from pathlib import Path

import torch

from meddistill.base import console
from meddistill.base.downloads import cache_dir, find_weights, obtain_weights
from meddistill.base.errors import ConfigError, WeightsError, nearest
from meddistill.base.hashing import sha256_file
from meddistill.teachers import sam2
from meddistill.teachers.known_teachers import TEACHERS, TeacherEntry
from meddistill.teachers.teacher import Teacher, keep_freed_memory


def teacher_entry(name: str) -> TeacherEntry:
    """The entry called `name`. Raises: ConfigError with the nearest right name."""
    if name not in TEACHERS:
        raise ConfigError(f"teacher '{name}' is not known{nearest(name, TEACHERS)}")
    return TEACHERS[name]


def fetch_teacher(name: str) -> Path:
    """Put the teacher's weights on this machine, verified, for when there is no network. Raises as
    `load_teacher`."""
    entry = teacher_entry(name)
    return _obtain(entry)


def has_weights(name: str, checkpoint: str = "") -> bool:
    """Whether `load_teacher` would find the weights on this machine, without a download."""
    if checkpoint:
        return Path(checkpoint).is_file()
    entry = TEACHERS.get(name)
    return entry is not None and find_weights(entry.weights, _folders(entry)) is not None


def load_teacher(
    name: str,
    *,
    checkpoint: str = "",
    device: torch.device | str = "cpu",
    precision: str = "32-true",
) -> Teacher:
    """A frozen teacher, ready to encode and decode.

    Raises: ConfigError for an unknown name; InputError for a yaml that describes no SAM 2 network;
    WeightsError where the weights are missing, damaged or another network's.

    Args:
        name: one of `TEACHERS`, or the path of a SAM 2 model description (.yaml), which needs a
            `checkpoint` of its own.
        checkpoint: file with its weights; empty = looked for on this machine, else downloaded
            once.
        device: where it computes.
        precision: `32-true` or `bf16-mixed`.
    """
    device = torch.device(device)
    if device.type == "cpu":
        keep_freed_memory()
    if name.endswith((".yaml", ".yml")):
        return _load_custom(Path(name), checkpoint, device, precision)
    entry = teacher_entry(name)
    weights = _given(checkpoint, entry) if checkpoint else _obtain(entry)
    return entry.load(entry, weights, device, precision)


def describe_teachers() -> str:
    """A table for people: name, network, input, licence, size, and where the weights lie on this
    machine."""
    rows = [("teacher", "network", "input", "licence", "size", "on this machine")]
    for entry in TEACHERS.values():
        path = find_weights(entry.weights, _folders(entry))
        where = f"yes: {path}" if path else "no"
        size = f"{entry.weights.bytes / 1e6:.0f} MB"
        rows.append(
            (
                entry.name,
                entry.network,
                f"{entry.input_size} px",
                entry.weights.licence,
                size,
                where,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]])
        for row in rows
    ]
    lines.append(
        "FILE.yaml: any other SAM 2 network, with distill.teacher_checkpoint=FILE in Meta's form."
    )
    lines.append(
        f"Weights are looked for in {cache_dir()} (set MEDDISTILL_CACHE to change it), then "
        "downloaded there."
    )
    lines.append(
        "`meddistill teachers --fetch NAME` downloads them ahead, for a machine that will have no "
        "network."
    )
    return "\n".join(lines)


def _load_custom(
    model_yaml: Path, checkpoint: str, device: torch.device, precision: str
) -> Teacher:
    if not checkpoint:
        raise ConfigError(
            f"teacher {model_yaml} needs its weights: give them as distill.teacher_checkpoint=FILE"
        )
    if not Path(checkpoint).is_file():
        raise WeightsError(f"teacher checkpoint {checkpoint} does not exist")
    network = sam2.NetworkFiles(model_yaml, Path(checkpoint))
    return sam2.Sam2.from_files(model_yaml.stem, network, device, precision)


def _given(checkpoint: str, entry: TeacherEntry) -> Path:
    path = Path(checkpoint)
    if not path.is_file():
        raise WeightsError(f"teacher checkpoint {path} does not exist; expected {entry.weights}")
    if path.stat().st_size != entry.weights.bytes or sha256_file(path) != entry.weights.sha256:
        console.warn(f"{path} is not the published {entry.weights.file}; using it as given")
    return path


def _obtain(entry: TeacherEntry) -> Path:
    """Raises: as `obtain_weights`, naming the teachers that need no download."""
    try:
        return obtain_weights(entry.weights, _folders(entry))
    except WeightsError as error:
        here = [name for name in TEACHERS if name != entry.name and has_weights(name)]
        if not here:
            raise
        raise WeightsError(f"{error}; on this machine: --teacher {', '.join(here)}") from error


def _folders(entry: TeacherEntry) -> list[Path]:
    packaged = entry.packaged_weights()
    return [packaged] if packaged else []
