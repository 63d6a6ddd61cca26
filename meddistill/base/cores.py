"""How many processor cores this process may use, whose they are, and how its threads wait for one
another."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path, PurePosixPath

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_THREADS = "OMP_NUM_THREADS"


def usable_cores(root: Path = Path("/")) -> int:
    """At least 1; fewer than the machine has where a container or a scheduler says so, by affinity
    or by quota.

    A part of a core counts as one: of a quota of 1.5, two threads get more than one does. `root` is
    for tests.
    """
    return min([_cores_there(), *_quotas(root)])


def cores_of_quota(root: Path = Path("/")) -> int | None:
    """`usable_cores` where a quota makes them fewer than affinity does, which torch and ONNX
    Runtime see themselves."""
    cores = usable_cores(root)
    return cores if cores < _cores_there() else None


def set_thread_defaults(environment: MutableMapping[str, str], root: Path = Path("/")) -> None:
    """Let threads of OpenMP sleep while they wait, and be no more than a quota has cores; what is
    set already stands.

    OpenMP reads its environment once, when torch loads it: after that, nothing is changed. By
    default threads that wait for another spin, and so hold up the very thread that they wait for
    where another process has a core. Sleeping costs time on cores that are free; a short spin
    (GOMP_SPINCOUNT=1000) costs less there and more beside a busy process. Figures:
    .github/docs/speed.md.
    """
    if "torch" in sys.modules:
        return
    if not any(name in environment for name in _WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    cores = cores_of_quota(root)
    if cores is not None:
        environment.setdefault(_THREADS, str(cores))


def is_intel(root: Path = Path("/")) -> bool:
    """Whether the processor is one of Intel's; `root` is for tests."""
    try:
        told = (root / "proc/cpuinfo").read_text()
    except (OSError, ValueError):  # not Linux
        told = platform.processor()
    return "GenuineIntel" in told


def _cores_there() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux alone
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[int]:
    """Cores by the CPU quota of this process's control group and of each group around it, for those
    that have one."""
    for folder in _control_groups(root):
        try:
            if (folder / "cpu.max").exists():  # version 2: "QUOTA PERIOD", or "max PERIOD"
                quota, period = (folder / "cpu.max").read_text().split()
            else:  # version 1: -1 is none
                quota, period = (
                    (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
                )
            if quota != "max" and int(quota) > 0:
                yield max(1, math.ceil(int(quota) / int(period)))
        except (OSError, ValueError, ZeroDivisionError):
            continue  # not there, or not as we know it: no quota to keep to


def _control_groups(root: Path) -> Iterator[Path]:
    """Folders of this process's control group and those around it, as far as they can be seen from
    here.

    In a container the path may be the host's, whose folders are not there; its own limits are then
    at the mount's top.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):  # not Linux; a name that is not UTF-8
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            mounts = {""}
        elif "cpu" in controllers.split(","):
            mounts = {"cpu", controllers}
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for mount in mounts:
            for inner in (group, *group.parents):
                if ".." not in inner.parts:
                    yield root / "sys/fs/cgroup" / mount / inner
