"""Which of a launcher's processes this one is, by what torchrun and srun set."""

import pytest

from meddistill.base.processes import Processes, launched

STEP = {
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Processes()),
        ({"WORLD_SIZE": "1", "RANK": "0"}, Processes()),
        (
            {"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "5", "LOCAL_RANK": "1"},
            Processes(8, 4, 5, 1),
        ),
        ({"WORLD_SIZE": "2", "RANK": "1"}, Processes(2, 1, 1, 0)),  # one a machine
        (STEP, Processes(8, 4, 5, 1, by_slurm=True)),
        (STEP | {"WORLD_SIZE": "2", "RANK": "1"}, Processes(2, 1, 1, 0)),  # torchrun under srun
        (STEP | {"SLURM_PTY_PORT": "40000"}, Processes()),  # a shell
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, Processes()),  # a batch script, without srun
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, Processes()),
    ],
)
def test_what_launchers_say(monkeypatch, variables, expected):
    for name in (*STEP, "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "SLURM_PTY_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched() == expected
