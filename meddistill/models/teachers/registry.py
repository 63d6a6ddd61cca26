"""Which teachers there are, and how each is loaded by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from meddistill import console
from meddistill.errors import ConfigError, WeightsError, nearest
from meddistill.models.teachers import litemedsam, sam2
from meddistill.models.teachers.base import Teacher, keep_freed_memory
from meddistill.models.weights import Weights, cache_dir, find_weights, obtain_weights
from meddistill.provenance import sha256_file

_META = "https://dl.fbaipublicfiles.com/segment_anything_2/"
_SQUASH = "squashed to a square, ImageNet mean and std"


@dataclasses.dataclass(frozen=True)
class TeacherEntry:
    """A teacher that can be named. `input_size`: side of its square input, px. `model_yaml`: a SAM 2 network's."""

    name: str
    network: str
    weights: Weights
    input_size: int
    normalisation: str
    model_yaml: str = ""


def _sam2(version: str, size: str, letters: str, file_size: int, sha256: str) -> TeacherEntry:
    stem = f"sam{version}_hiera_"
    folder = {"2": "072824/", "2.1": "092824/"}[version]
    file = f"{stem}{size.replace('-', '_')}.pt"
    weights = Weights(file, file_size, sha256, _META + folder + file, "Apache-2.0")
    yaml = f"sam{version}/{stem}{letters}.yaml"
    return TeacherEntry(f"sam{version}-{size}", f"SAM {version} Hiera {size}", weights, 1024, _SQUASH, yaml)


_MEDSAM2 = Weights(
    "MedSAM2_latest.pt",
    156040129,
    "c92743b99f00d078bf32a3afcc38aaa9faf1c1692dffe3eaa7a90938c1991060",
    "https://huggingface.co/wanglab/MedSAM2/resolve/main/MedSAM2_latest.pt",
    "CC-BY-SA-4.0, for research and education",
)
_LITEMEDSAM = Weights(
    "lite_medsam.pth",
    39370479,
    "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
    "",
    "Apache-2.0",
)

# Meta's names of the sizes: the letters in its yaml, then bytes and SHA-256 of its checkpoint.
_ENTRIES = (
    _sam2("2", "tiny", "t", 155906050, "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
    _sam2("2", "small", "s", 184309650, "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
    _sam2("2", "base-plus", "b+", 323493298, "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
    _sam2("2", "large", "l", 897952466, "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
    _sam2("2.1", "tiny", "t", 156008466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _sam2("2.1", "small", "s", 184416285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _sam2("2.1", "base-plus", "b+", 323606802, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _sam2("2.1", "large", "l", 898083611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    TeacherEntry("medsam2", "SAM 2.1 Hiera tiny, medical", _MEDSAM2, 512, _SQUASH, "sam2.1/sam2.1_hiera_t.yaml"),
    TeacherEntry(
        "litemedsam", "LiteMedSAM (TinyViT)", _LITEMEDSAM, litemedsam.INPUT_SIZE,
        "longest side resized by area, minimum and maximum of the image to 0 and 1, padded",
    ),
)  # fmt: skip

TEACHERS = {entry.name: entry for entry in _ENTRIES}


def teacher_entry(name: str) -> TeacherEntry:
    """The entry called `name`. Raises: ConfigError with the nearest right name."""
    if name not in TEACHERS:
        raise ConfigError(f"teacher '{name}' is not known{nearest(name, TEACHERS)}")
    return TEACHERS[name]


def fetch_teacher(name: str) -> Path:
    """Put the teacher's weights on this machine, verified, for when there is no network. Raises as `load_teacher`."""
    entry = teacher_entry(name)
    return obtain_weights(entry.weights, _folders(entry))


def load_teacher(
    name: str, *, checkpoint: str = "", device: torch.device | str = "cpu", precision: str = "32-true"
) -> Teacher:
    """A frozen teacher, ready to encode and decode.

    `name`: one of `TEACHERS`, or the path of a SAM 2 model description (.yaml), which needs a `checkpoint` of its own.
    `checkpoint`: file with its weights; empty = looked for on this machine, else downloaded once. `precision`:
    `32-true` or `bf16-mixed`.
    Raises: ConfigError for an unknown name; InputError for a yaml that describes no SAM 2 network; WeightsError where
    the weights are missing, damaged or another network's.
    """
    device = torch.device(device)
    if device.type == "cpu":
        keep_freed_memory()
    if name.endswith((".yaml", ".yml")):
        return _load_custom(Path(name), checkpoint, device, precision)
    entry = teacher_entry(name)
    weights = _given(checkpoint, entry) if checkpoint else obtain_weights(entry.weights, _folders(entry))
    if not entry.model_yaml:
        return litemedsam.LiteMedSam(weights, device, precision)
    yaml = sam2.packaged_yaml(entry.model_yaml)
    return sam2.Sam2.from_files(name, yaml, weights, device, precision, entry.input_size)


def describe_teachers() -> str:
    """A table for people: name, network, input, licence, size, and where the weights lie on this machine."""
    rows = [("teacher", "network", "input", "licence", "size", "on this machine")]
    for entry in _ENTRIES:
        path = find_weights(entry.weights, _folders(entry))
        where = f"yes: {path}" if path else "no"
        size = f"{entry.weights.bytes / 1e6:.0f} MB"
        rows.append((entry.name, entry.network, f"{entry.input_size} px", entry.weights.licence, size, where))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]) for row in rows
    ]
    lines.append("FILE.yaml: any other SAM 2 network, with distill.teacher_checkpoint=FILE in Meta's form.")
    lines.append(f"Weights are looked for in {cache_dir()} (set MEDDISTILL_CACHE to change it), then downloaded there.")
    lines.append("`meddistill teachers --fetch NAME` downloads them ahead, for a machine that will have no network.")
    return "\n".join(lines)


def _load_custom(model_yaml: Path, checkpoint: str, device: torch.device, precision: str) -> Teacher:
    if not checkpoint:
        raise ConfigError(f"teacher {model_yaml} needs its weights: give them as distill.teacher_checkpoint=FILE")
    if not Path(checkpoint).is_file():
        raise WeightsError(f"teacher checkpoint {checkpoint} does not exist")
    return sam2.Sam2.from_files(model_yaml.stem, model_yaml, Path(checkpoint), device, precision, None)


def _given(checkpoint: str, entry: TeacherEntry) -> Path:
    path = Path(checkpoint)
    if not path.is_file():
        raise WeightsError(f"teacher checkpoint {path} does not exist; expected {entry.weights}")
    if path.stat().st_size != entry.weights.bytes or sha256_file(path) != entry.weights.sha256:
        console.warn(f"{path} is not the published {entry.weights.file}; using it as given")
    return path


def _folders(entry: TeacherEntry) -> list[Path]:
    packaged = litemedsam.packaged_weights() if entry.name == "litemedsam" else None
    return [packaged] if packaged else []
