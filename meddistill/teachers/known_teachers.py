"""The teachers that can be named: network, weights, and how each is loaded.

To add one: a module with its class, and its entry in `TEACHERS`. Loaders import that module when
they are called, so that the shell can complete names without torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from meddistill.base.downloads import Weights

if TYPE_CHECKING:
    import torch

    from meddistill.teachers.teacher import Teacher

_META = "https://dl.fbaipublicfiles.com/segment_anything_2/"


@dataclasses.dataclass(frozen=True)
class TeacherEntry:
    """A teacher that can be named.

    `input_size`: side of its square input, px. `load`: from this entry, the file of its weights,
    device and precision to the teacher. `model_yaml`: a SAM 2 network's. `packaged_weights`: the
    folder of an installed package that holds the weights, None where there is none.
    """

    name: str
    network: str
    weights: Weights
    input_size: int
    load: Callable[[TeacherEntry, Path, torch.device, str], Teacher]
    model_yaml: str = ""
    packaged_weights: Callable[[], Path | None] = lambda: None


def _load_sam2(entry: TeacherEntry, weights: Path, device: torch.device, precision: str) -> Teacher:
    from meddistill.teachers import sam2

    yaml = sam2.packaged_yaml(entry.model_yaml)
    network = sam2.NetworkFiles(yaml, weights, entry.input_size)
    return sam2.Sam2.from_files(entry.name, network, device, precision)


def _load_litemedsam(
    entry: TeacherEntry, weights: Path, device: torch.device, precision: str
) -> Teacher:
    from meddistill.teachers.litemedsam import LiteMedSam

    return LiteMedSam(weights, device, precision)


def _packaged_litemedsam() -> Path | None:
    from meddistill.teachers.litemedsam import packaged_weights

    return packaged_weights()


def _sam2(version: str, size: str, letters: str, file_size: int, sha256: str) -> TeacherEntry:
    stem = f"sam{version}_hiera_"
    folder = {"2": "072824/", "2.1": "092824/"}[version]
    file = f"{stem}{size.replace('-', '_')}.pt"
    weights = Weights(file, file_size, sha256, _META + folder + file, "Apache-2.0")
    yaml = f"sam{version}/{stem}{letters}.yaml"
    name, network = f"sam{version}-{size}", f"SAM {version} Hiera {size}"
    return TeacherEntry(name, network, weights, 1024, _load_sam2, yaml)


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
    _sam2(
        "2",
        "tiny",
        "t",
        155906050,
        "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
    ),
    _sam2(
        "2",
        "small",
        "s",
        184309650,
        "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
    ),
    _sam2(
        "2",
        "base-plus",
        "b+",
        323493298,
        "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
    ),
    _sam2(
        "2",
        "large",
        "l",
        897952466,
        "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
    ),
    _sam2(
        "2.1",
        "tiny",
        "t",
        156008466,
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ),
    _sam2(
        "2.1",
        "small",
        "s",
        184416285,
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    _sam2(
        "2.1",
        "base-plus",
        "b+",
        323606802,
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    _sam2(
        "2.1",
        "large",
        "l",
        898083611,
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
    TeacherEntry(
        "medsam2",
        "SAM 2.1 Hiera tiny, medical",
        _MEDSAM2,
        512,
        _load_sam2,
        "sam2.1/sam2.1_hiera_t.yaml",
    ),
    TeacherEntry(
        "litemedsam",
        "LiteMedSAM (TinyViT)",
        _LITEMEDSAM,
        256,
        _load_litemedsam,
        packaged_weights=_packaged_litemedsam,
    ),
)

TEACHERS = {entry.name: entry for entry in _ENTRIES}
"""Name -> entry, in the order of `meddistill teachers`."""
