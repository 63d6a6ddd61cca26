"""Student networks of segmentation-models-pytorch: the one module that imports it (and timm, its
encoders' home)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import segmentation_models_pytorch as smp
import timm
from torch import Tensor

from meddistill.base.errors import ConfigError, nearest
from meddistill.student.networks.encoders import HubRepository, find_imagenet, load_encoder
from meddistill.student.networks.student_network import NetworkOptions, StudentNetwork

# DPT's decoder takes more than the encoder's maps.
ARCHITECTURES: dict[str, Any] = {
    name: kind for name, kind in smp.MODEL_ARCHITECTURES_MAPPING.items() if name != "dpt"
}
CLASSES = {kind.__name__: kind for kind in ARCHITECTURES.values()}
# Ours where none is asked for. As good as smp's own, twice as wide at its coarse end, for 0.6 of
# the training time: .github/docs/ablation.md.
_DECODER_CHANNELS = {"unetplusplus": (128, 64, 32, 16, 16)}
_IMAGENET_MEAN_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class SmpNetwork(StudentNetwork):
    """Any architecture and encoder of segmentation-models-pytorch with an output channel a finding.

    Built without weights: `config.json` says `encoder_weights: null`, so loading it never asks a
    network for any.
    """

    def __init__(self, network: Any, encoder: str) -> None:
        super().__init__()
        self.network = network
        self.encoder_name = encoder
        self.findings = int(network.config.get("classes", 1))
        self.in_channels = int(network.config.get("in_channels", 3))
        self.stride = int(network.encoder.output_stride)
        # The first map is the frame itself; encoders that start at stride 4 have an empty one at
        # stride 2.
        self.feature_channels = [count for count in network.encoder.out_channels[1:] if count]
        self.preprocessing_mean_std = _timm_mean_std(encoder) or _IMAGENET_MEAN_STD

    @classmethod
    def build(cls, name: str, options: NetworkOptions) -> Self:
        """The architecture of that name, one of `ARCHITECTURES`.

        Without `decoder_channels` UNet++ has 128, 64, 32, 16, 16, any other its own. ImageNet
        weights are looked for locally, then once on the hub; where there are none, a warning says
        that the encoder is random. Raises: ConfigError naming the nearest encoder, or why the two
        do not go together; WeightsError.
        """
        module = cls._random(name, options)
        if options.encoder_weights == "imagenet":
            module.start_from_imagenet()
        elif options.encoder_weights not in ("none", ""):
            module.start_from_file(options.encoder_weights)
        return module

    @classmethod
    def _random(cls, architecture: str, options: NetworkOptions) -> Self:
        encoder = options.encoder
        decoder_channels = options.decoder_channels or _DECODER_CHANNELS.get(architecture, ())
        settings: dict[str, Any] = {
            "encoder_name": encoder,
            "encoder_weights": None,
            "in_channels": options.in_channels,
            "classes": options.findings,
        }
        if decoder_channels:
            if not _takes_decoder_channels(architecture):
                fitting = ", ".join(filter(_takes_decoder_channels, ARCHITECTURES))
                raise ConfigError(
                    f"decoder_channels does not go with '{architecture}', only with {fitting}"
                )
            settings["decoder_channels"] = [int(count) for count in decoder_channels]
        return cls._construct(ARCHITECTURES[architecture], settings)

    @classmethod
    def from_saved_config(cls, config: Mapping[str, Any]) -> Self:
        """The network of a config.json, weights still random.

        `_model_class` is in `CLASSES`. Raises: ConfigError for arguments that it does not take.
        """
        settings = {key: value for key, value in config.items() if not key.startswith("_")}
        kind = CLASSES[config["_model_class"]]
        return cls._construct(kind, {**settings, "encoder_weights": None})

    @classmethod
    def _construct(cls, kind: Any, settings: dict[str, Any]) -> Self:
        encoder = str(settings.get("encoder_name"))
        _check_encoder(encoder)
        try:
            return cls(kind(**settings), encoder)
        except (TypeError, ValueError, KeyError, RuntimeError) as error:
            raise ConfigError(
                f"{kind.__name__} with encoder '{encoder}' cannot be built: {error}"
            ) from error

    def start_from_imagenet(self) -> None:
        """Load ImageNet weights into the encoder, from this machine or the network; say so where
        there are none."""
        found = find_imagenet(self.encoder_name, _hub_repository(self.encoder_name))
        if found is None:
            return
        self.start_from_file(found.path, found.source)
        if found.mean_std is not None and _timm_mean_std(self.encoder_name) is None:
            self.preprocessing_mean_std = found.mean_std

    def start_from_file(self, path: Path | str, source: str = "") -> None:
        """Load encoder weights from a .safetensors or .pth file. Raises: WeightsError where they do
        not fit."""
        load_encoder(self.network.encoder, path)
        self.weights_source = source or str(path)

    def forward_with_features(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = self.network.encoder(frames)
        return self._decode(maps), [m for m in maps[1:] if m.shape[1]]

    def forward(self, frames: Tensor) -> Tensor:
        return self._decode(self.network.encoder(frames))

    def features(self, frames: Tensor) -> list[Tensor]:
        return [m for m in self.network.encoder(frames)[1:] if m.shape[1]]

    def saved_config(self) -> dict[str, Any]:
        return {
            **self.network.config,
            "_model_class": type(self.network).__name__,
            "encoder_weights": None,
        }

    def saved_state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.network.state_dict()
        return state

    def load_saved_state(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(dict(state), strict=True)

    def _decode(self, maps: list[Tensor]) -> Tensor:
        logits: Tensor = self.network.segmentation_head(self.network.decoder(maps))
        return logits.float()


def _takes_decoder_channels(architecture: str) -> bool:
    # Others take a single width, or swallow the argument without a word.
    parameter = inspect.signature(ARCHITECTURES[architecture].__init__).parameters.get(
        "decoder_channels"
    )
    return parameter is not None and isinstance(parameter.default, Sequence)


def _check_encoder(encoder: str) -> None:
    # timm also takes `hf-hub:` and `local-dir:` names: those would fetch what a student's
    # config.json says.
    of_timm = encoder.removeprefix("tu-").split(".")[0]
    if encoder.startswith("tu-") and ":" not in encoder and timm.is_model(of_timm):
        return
    if encoder not in smp.encoders.encoders:
        known = [*smp.encoders.encoders, *(f"tu-{name}" for name in timm.list_models())]
        close = nearest(encoder, known)
        if not close.startswith("; did"):  # more than a thousand
            close = "; choose e.g. resnet34, tu-tf_efficientnet_lite0 or tu- and a name of timm's"
        raise ConfigError(f"encoder is '{encoder}'{close}")


def _hub_repository(encoder: str) -> HubRepository | None:
    """Where the Hugging Face hub keeps the encoder's ImageNet weights."""
    if encoder.startswith("tu-"):
        settings = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
        repository = getattr(settings, "hf_hub_id", None)
        return HubRepository(repository, None) if repository else None
    settings = smp.encoders.encoders[encoder]["pretrained_settings"].get("imagenet")
    return HubRepository(settings["repo_id"], settings["revision"]) if settings else None


def _timm_mean_std(
    encoder: str,
) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    settings = (
        timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if encoder.startswith("tu-")
        else None
    )
    if settings is None or settings.mean is None or len(settings.mean) != 3:
        return None
    return tuple(settings.mean), tuple(settings.std)
