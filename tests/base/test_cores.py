"""Threads follow the cores that a process may use, and sleep while they wait; what the user set stands."""

import os
import platform
import subprocess
import sys

import pytest

from meddistill.base.cores import cores_of_quota, is_intel, set_thread_defaults, usable_cores

CORES = 8
CONCERNED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_NUM_THREADS")
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    """Eight cores by affinity, and a process that has not loaded torch."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(CORES)), raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def control_groups(root, cgroup, files):
    """A tree as the kernel shows it: what `/proc/self/cgroup` says, and files by their path."""
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        pytest.param(
            "0::/\n", {f"{V2}/cpu.max": "300000 100000\n"}, 3, id="version 2, a container"
        ),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, CORES, id="version 2, no quota"),
        pytest.param(
            "0::/a/b\n", {f"{V2}/a/b/cpu.max": "200000 100000\n"}, 2, id="version 2, a group"
        ),
        pytest.param(
            "0::/a/b\n",
            {f"{V2}/a/b/cpu.max": "max 100000\n", f"{V2}/a/cpu.max": "100000 50000\n"},
            2,
            id="version 2, the quota of the group around it",
        ),
        pytest.param(
            "0::/../other\n",
            {f"{V2}/cpu.max": "200000 100000\n"},
            2,
            id="version 2, outside what is seen",
        ),
        pytest.param(
            "0::/\n", {f"{V2}/cpu.max": "150000 100000\n"}, 2, id="a part of a core is one"
        ),
        pytest.param(
            "0::/\n", {f"{V2}/cpu.max": "10000 100000\n"}, 1, id="less than a core is one"
        ),
        pytest.param(
            "0::/\n", {f"{V2}/cpu.max": "9900000 100000\n"}, CORES, id="more than there are"
        ),
        pytest.param(
            "4:memory:/x\n1:cpu:/x\n0::/\n",
            {f"{V1}/x/cpu.cfs_quota_us": "400000\n", f"{V1}/x/cpu.cfs_period_us": "100000\n"},
            4,
            id="version 1",
        ),
        pytest.param(
            "3:cpu,cpuacct:/host/id\n",
            {
                f"{V1},cpuacct/cpu.cfs_quota_us": "200000\n",
                f"{V1},cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2,
            id="version 1, a container that is shown the path of its host",
        ),
        pytest.param(
            "1:cpu:/\n",
            {f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"},
            CORES,
            id="version 1, no quota",
        ),
        pytest.param(
            "2:cpuset:/\n",
            {f"{V2}/cpuset/cpu.cfs_quota_us": "100000\n"},
            CORES,
            id="another controller",
        ),
        pytest.param(
            "nonsense\n\n0::\n", {f"{V2}/cpu.max": "many\n"}, CORES, id="not as we know it"
        ),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "100000 0\n"}, CORES, id="a period of nothing"),
    ],
)
def test_cores_follow_the_quota(tmp_path, cgroup, files, cores):
    root = control_groups(tmp_path, cgroup, files)
    assert usable_cores(root) == cores
    assert cores_of_quota(root) == (cores if cores < CORES else None)


def test_cores_follow_affinity_where_there_are_no_control_groups(tmp_path, monkeypatch):
    assert usable_cores(tmp_path) == CORES
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert usable_cores(tmp_path) == 1
    assert cores_of_quota(tmp_path) is None


def test_threads_sleep_and_their_number_is_left_alone_without_a_quota(tmp_path):
    environment = {"PATH": "/bin"}
    set_thread_defaults(environment, tmp_path)
    assert environment == {"PATH": "/bin", "OMP_WAIT_POLICY": "PASSIVE"}


def test_a_quota_sets_the_number_of_threads(tmp_path):
    environment = {}
    set_thread_defaults(
        environment, control_groups(tmp_path, "0::/\n", {f"{V2}/cpu.max": "250000 100000\n"})
    )
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3"}


@pytest.mark.parametrize("name", CONCERNED)
def test_what_the_user_set_stands(tmp_path, name):
    environment = {name: "1"}
    set_thread_defaults(
        environment, control_groups(tmp_path, "0::/\n", {f"{V2}/cpu.max": "250000 100000\n"})
    )
    assert environment.pop(name) == "1"
    expected = (
        {"OMP_WAIT_POLICY": "PASSIVE"} if name == "OMP_NUM_THREADS" else {"OMP_NUM_THREADS": "3"}
    )
    assert environment == expected


def test_nothing_is_set_once_torch_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", sys)
    environment = {}
    set_thread_defaults(
        environment, control_groups(tmp_path, "0::/\n", {f"{V2}/cpu.max": "100000 100000\n"})
    )
    assert environment == {}


linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere torch brings another OpenMP than GNU's"
)


def python(code, **variables):
    """What a new process prints, and what OpenMP says in it when torch loads it."""
    environment = {name: value for name, value in os.environ.items() if name not in CONCERNED}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **variables}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_importing_the_package_is_enough_and_does_not_load_torch():
    shown = python(
        "import meddistill, os, sys; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    )
    assert shown.stdout == "False PASSIVE\n"


@linux_only
def test_openmp_goes_by_it_and_torch_has_as_many_threads_as_without():
    ask = "import torch; print(torch.get_num_threads())"
    alone, ours = python(ask), python(f"from meddistill import load_student; {ask}")
    assert "GOMP_SPINCOUNT = '0'" in ours.stderr
    assert "GOMP_SPINCOUNT = '300000'" in alone.stderr
    assert ours.stdout == alone.stdout


@linux_only
def test_openmp_goes_by_what_the_user_set():
    code = "import meddistill, torch; print(torch.get_num_threads())"
    shown = python(code, GOMP_SPINCOUNT="77", OMP_NUM_THREADS="1")
    assert "GOMP_SPINCOUNT = '77'" in shown.stderr
    assert shown.stdout == "1\n"


def test_processes_of_a_pool_inherit_it():
    shown = python("""
import meddistill, multiprocessing, os
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(os.getenv, ["OMP_WAIT_POLICY"]))
""")
    assert shown.stdout == "PASSIVE\n"


@pytest.mark.parametrize(("vendor", "expected"), [("GenuineIntel", True), ("AuthenticAMD", False)])
def test_whose_the_processor_is(tmp_path, vendor, expected):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor : 0\nvendor_id : {vendor}\n")
    assert is_intel(tmp_path) is expected


def test_without_proc_the_platform_says_whose_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "Intel64 Family 6 Model 143, GenuineIntel")
    assert is_intel(tmp_path)
