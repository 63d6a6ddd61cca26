"""Where and how training runs: device, precision and processes, by Lightning Fabric."""

from __future__ import annotations

import datetime
import logging
from types import MethodType

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from meddistill.base import console
from meddistill.base.cores import is_intel
from meddistill.base.errors import ConfigError
from meddistill.base.processes import Processes, launched
from meddistill.teachers.teacher import keep_freed_memory

WAITS_AT_MOST = datetime.timedelta(days=1)
"""How long processes wait for the first of them, which alone carries boxes and asks about unboxed
images; torch's half an hour is less than that may take. One that died is noticed at once all the same.
"""


def make_fabric(device: str, precision: str) -> Fabric:
    """A launched Fabric for `device` (`auto`, `cpu`, `cuda`, `cuda:1`) and `precision` (`auto` or
    Fabric's names).

    Under torchrun or srun it joins the processes that the launcher started; else it is one process on
    one device. Raises: ConfigError for a device that is not there, or not for every process.
    """
    resolved, processes = resolve_device(device), launched()
    _check_devices(resolved, processes)
    # Lightning announces what run.json holds anyway.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    several = processes.count > 1
    devices: int | list[int] = [resolved.index] if resolved.index is not None else 1
    fabric = Fabric(
        accelerator=resolved.type,
        devices=processes.on_machine if several else devices,
        num_nodes=max(1, processes.count // processes.on_machine),
        strategy=DDPStrategy(timeout=WAITS_AT_MOST) if several else "auto",
        plugins=[_slurm()] if processes.by_slurm else [],
        precision=choose_precision(resolved) if precision == "auto" else precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    if resolved.type == "cpu":
        keep_freed_memory()
    if not fabric.is_global_zero:
        console.set_quiet(True)
    return fabric


def _slurm() -> SLURMEnvironment:
    """Named to Lightning, which overlooks SLURM in jobs that are called bash or interactive. Raises:
    ConfigError where srun was not told how many tasks a machine has."""
    try:
        return SLURMEnvironment()
    except RuntimeError as error:
        raise ConfigError(
            "srun was given a number of tasks, but not how many a machine has: give it "
            "--ntasks-per-node, as many as each machine has GPUs"
        ) from error


def _check_devices(device: torch.device, processes: Processes) -> None:
    """Raises: ConfigError where not every process of this machine has a device of its own."""
    if processes.count % processes.on_machine:
        raise ConfigError(
            f"{processes.count} processes lie unevenly on the machines, {processes.on_machine} on this "
            "one: start as many on each (--ntasks-per-node)"
        )
    if device.type != "cuda" or processes.count == 1:
        return
    there = torch.cuda.device_count()
    if there < processes.on_machine:
        raise ConfigError(
            f"{processes.on_machine} processes of this machine need a GPU each, and each process sees "
            f"{there}: ask for them by machine (--gpus-per-node), not by task, or start fewer processes"
        )


def precision_of(fabric: Fabric) -> str:
    """The precision that `auto` was resolved to."""
    return str(fabric._precision.precision)


def sum_over_ranks(fabric: Fabric, tensor: Tensor) -> Tensor:
    """Elementwise sum over the processes, of a tensor that stays as it is."""
    total = fabric.all_reduce(tensor.clone(), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total


def widest_float(device: torch.device) -> torch.dtype:
    """What sums over many cases are kept in: float64 where the device has it, which Apple's has not."""
    return torch.float32 if device.type == "mps" else torch.float64


def resolve_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises: ConfigError for a device that is not
    there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        resolved = None
    if resolved is None or resolved.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device is '{device}'; choose from auto, cpu, cuda, cuda:N, mps")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device '{device}' is not there: torch sees {torch.cuda.device_count()} CUDA device(s)"
        )
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            "device 'mps' is not there: it needs an Apple GPU, and a torch built for it"
        )
    return resolved


def choose_precision(device: torch.device) -> str:
    """bf16 where the hardware multiplies it faster, else 32 bit.

    UNet++ with tf_efficientnet_lite0, a training step of 8 images of 256 px, channels last, two
    cores of an AMD EPYC with AVX512-BF16: 1.15 s in bf16, 2.2 s in 32 bit (3.2 s in 32 bit,
    channels first). Intel has the same instructions, but multiplies no more numbers with them than
    in 32 bit, unless by AMX, which a virtual machine may hide: one core of a Xeon without it, 2.47 s
    in bf16, 1.93 s in 32 bit.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):  # torch answers for the current one
            is_native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if is_native else "32-true"
    # Private, and so asked for with care: a torch without it trains in 32 bit.
    native, amx = (
        getattr(torch.cpu, name, lambda: False)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    pays = native and (amx or not is_intel())
    return "bf16-mixed" if device.type == "cpu" and pays else "32-true"


def train_depthwise_in_float32(network: nn.Module, fabric: Fabric) -> None:
    """Take depthwise convolutions out of bf16 on a CPU, where their backward pass has no fast
    kernel.

    A training step of the default student (8 images of 192 px, one core of an AMD EPYC): 1.33 s
    without, 1.01 s with. Only what trains is changed, in place; weights, names and copies made
    before stay as they are.
    """
    if fabric.device.type != "cpu" or precision_of(fabric) != "bf16-mixed":
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = MethodType(_forward_in_float32, module)  # type: ignore[method-assign]


def _forward_in_float32(convolution: nn.Conv2d, maps: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return type(convolution).forward(convolution, maps.float())
