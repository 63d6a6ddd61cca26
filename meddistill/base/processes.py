"""How many processes a launcher started for this command, and which of them this one is."""

from __future__ import annotations

import dataclasses
import os

TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


@dataclasses.dataclass(frozen=True)
class Processes:
    """`count` processes, of which `on_machine` run on each machine; this one is the `rank`-th of all
    and the `local_rank`-th of its machine, from 0. `by_slurm`: started by srun, not by torchrun."""

    count: int = 1
    on_machine: int = 1
    rank: int = 0
    local_rank: int = 0
    by_slurm: bool = False


def launched() -> Processes:
    """The processes that torchrun, or srun for one job step, started; else this one alone.

    A shell that `srun --pty` opened is one process, for however many tasks it was asked.
    """
    if _number("WORLD_SIZE", 1) > 1:
        count = _number("WORLD_SIZE", 1)
        on_machine = _number("LOCAL_WORLD_SIZE", 1)
        return Processes(count, on_machine, _number("RANK", 0), _number("LOCAL_RANK", 0))
    count = _number("SLURM_STEP_NUM_TASKS", 1)
    if count > 1 and "SLURM_PTY_PORT" not in os.environ:
        machines = max(1, _number("SLURM_STEP_NUM_NODES", 1))
        rank, local_rank = _number("SLURM_PROCID", 0), _number("SLURM_LOCALID", 0)
        return Processes(count, max(1, count // machines), rank, local_rank, by_slurm=True)
    return Processes()


def _number(name: str, otherwise: int) -> int:
    """The environment variable, where it is a number."""
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else otherwise
