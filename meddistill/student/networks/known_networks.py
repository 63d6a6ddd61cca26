"""The student networks that there are, by the name that `distill.student` takes.

Another one is a class in a module of its own (see `student_network.StudentNetwork`) and a line
here. Every other name is an architecture of segmentation-models-pytorch, imported when it is asked
for.
"""

from __future__ import annotations

from typing import Any

from meddistill.base.errors import ConfigError, nearest
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.networks.student_network import NetworkOptions, StudentNetwork

NETWORKS: dict[str, type[StudentNetwork]] = {
    "nested_unet": NestedUNet,
}


def build_network(name: str, options: NetworkOptions) -> StudentNetwork:
    """A network to train. Raises: ConfigError for a name that is none or options that do not go
    with it; WeightsError."""
    if name in NETWORKS:
        return NETWORKS[name].build(name, options)
    from meddistill.student.networks.smp_network import ARCHITECTURES, SmpNetwork

    if name not in ARCHITECTURES:
        raise ConfigError(f"student is '{name}'{nearest(name, [*NETWORKS, *ARCHITECTURES])}")
    return SmpNetwork.build(name, options)


def network_of_config(config: Any) -> StudentNetwork:
    """The network that a config.json describes, its weights still random; `_model_class` names the
    class. Raises: ConfigError and what constructors raise where it describes none."""
    if not isinstance(config, dict):
        raise ConfigError("it is no table of settings")
    ours = {kind.__name__: kind for kind in NETWORKS.values()}
    name = str(config.get("_model_class"))
    if name in ours:
        return ours[name].from_saved_config(config)
    from meddistill.student.networks.smp_network import CLASSES, SmpNetwork

    if name not in CLASSES:
        raise ConfigError(f"_model_class is '{name}'{nearest('', [*CLASSES, *ours])}")
    return SmpNetwork.from_saved_config(config)
