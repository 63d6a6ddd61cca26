"""Stages killed at random moments and run again end as if nothing had happened, byte for byte.

A kill is SIGKILL of a real process, at a moment drawn among all its file renames (before and after)
and training steps.
"""

import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import TESTS

from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import CONVERTED_JSONL, RUN_JSON, RunDir

STAGES = ("prepare", "distill", "eval")
QUICK = {"prepare": 1, "distill": 3, "eval": 1}
SLOW = {"prepare": 10, "distill": 16, "eval": 8}
# What the stage is run on again, and what is compared; run.json also holds times.
MADE = {"prepare": ("data",), "distill": ("teacher", "student"), "eval": ("eval",)}
COMPARED = ("stage", "settings", "inputs", "outputs", "results", "seed")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Server:
    def __init__(self, log):
        self.log, self.file = log, log.open("w")
        path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.kill_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.file,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def run(self, stage, root, kill_at=0, limit=0):
        """Exit status, number of events and error; see kill_server."""
        job = {"stage": stage, "run": str(root), "kill_at": kill_at, "limit": limit}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.log.read_text()
        found = json.loads(answer)
        return found["status"], found["events"], found["error"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(server, RUN that was never interrupted, stage -> its number of events, stage -> what it made)."""
    root = tmp_path_factory.mktemp("whole")
    write_phantom(root / "run" / "source", cases=24, seed=0, size=64)
    server = Server(root / "log")
    events, contents = {}, {}
    for stage in STAGES:
        status, events[stage], error = server.run(stage, root / "run")
        assert status == 0, error
        contents[stage] = content(root / "run", stage)  # a later one adds to it: eval to the card
    yield server, root / "run", events, contents
    server.process.stdin.close()
    server.file.close()
    server.process.wait(timeout=20)


def content(root, stage):
    files = {}
    for name in MADE[stage]:
        for path in sorted((root / name).rglob("*")):
            if path.is_dir() or path.name.startswith("events.out.tfevents"):
                continue
            data = path.read_bytes()
            if path.name == RUN_JSON:
                record = json.loads(data)
                data = {key: record.get(key) for key in COMPARED}
            elif path.name == CONVERTED_JSONL:
                data = journal(data)
            elif path.suffix == ".ckpt":
                data = "there"  # a zip with names of its own; what it holds shows in the weights
            files[path.relative_to(root).as_posix()] = data
    return files


def journal(data):
    """Its whole lines: the one that a kill cut short is written again."""
    found = set()
    for line in data.decode().splitlines():
        with contextlib.suppress(ValueError):
            found.add(json.dumps(json.loads(line), sort_keys=True))
    return found


def moments(stage, count, events):
    """Distinct moments, spread over the stage: one drawn in each of `count` equal parts."""
    chance = random.Random(f"{stage} {count}")
    edges = [round(number * events / count) for number in range(count + 1)]
    return [chance.randint(low + 1, max(low + 1, high)) for low, high in itertools.pairwise(edges)]


def kill_and_go_on(whole, tmp_path, stage, numbers):
    server, intact, events, contents = whole
    expected = contents[stage]
    assert len(expected) > 3
    for kill_at in moments(stage, len(numbers), events[stage]):
        root = tmp_path / f"{stage}-{kill_at}"
        shutil.copytree(
            intact, root, ignore=lambda folder, names: made(folder, names, intact, stage)
        )
        assert not any((root / name).exists() for name in MADE[stage])
        assert server.run(stage, root, kill_at)[0] == -9
        assert not (root / MADE[stage][-1] / RUN_JSON).exists() or kill_at >= events[stage] - 2
        status, _, error = server.run(stage, root)
        assert status == 0, error
        found = content(root, stage)
        assert found.keys() == expected.keys(), f"killed at event {kill_at} of {events[stage]}"
        assert [name for name in expected if found[name] != expected[name]] == [], (
            f"killed at event {kill_at}"
        )
        shutil.rmtree(root)


def made(folder, names, intact, stage):
    """What `stage` and those after it make: left out of the copy."""
    later = [name for one in STAGES[STAGES.index(stage) :] for name in MADE[one]]
    return [
        name for name in names if Path(folder) == intact and (name in later or name.startswith("."))
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_ends_like_one_that_was_not(whole, tmp_path, stage):
    kill_and_go_on(whole, tmp_path, stage, range(QUICK[stage]))


@pytest.mark.parametrize("limit", [300, 3000])
@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_one_line_and_costs_nothing(whole, tmp_path, stage, limit):
    server, intact, _, contents = whole
    root = tmp_path / "run"
    shutil.copytree(intact, root, ignore=lambda folder, names: made(folder, names, intact, stage))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    status, _, error = server.run(stage, root, limit=limit)
    assert status == 1
    # The first when the stage is under way, the second where not even its mark can be written.
    assert (
        "beyond the size that this process may write" in error
        or "cannot be written (File too large)" in error
    )
    assert len(error.splitlines()) == 1
    assert {path: path.read_bytes() for path in before} == before
    assert not (root / MADE[stage][-1] / RUN_JSON).exists()
    assert server.run(stage, root)[0] == 0
    assert content(root, stage) == contents[stage]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_many_kills_cost_nothing(whole, tmp_path, stage):
    kill_and_go_on(whole, tmp_path, stage, range(SLOW[stage]))


@pytest.mark.slow
def test_a_stage_that_is_killed_again_and_again_still_ends_the_same(whole, tmp_path):
    server, intact, events, contents = whole
    root = tmp_path / "again"
    shutil.copytree(
        intact, root, ignore=lambda folder, names: made(folder, names, intact, "distill")
    )
    chance, kills = random.Random(7), 0
    while server.run("distill", root, chance.randint(2, events["distill"] // 3))[0] == -9:
        kills += 1
        assert kills < 60
    assert kills >= 5
    assert content(root, "distill") == contents["distill"]


def test_the_run_that_is_compared_with_did_its_work(whole):
    _, intact, events, _ = whole
    assert all(events[stage] > 20 for stage in STAGES)
    assert (RunDir(intact).student / "model.safetensors").stat().st_size > 1000
