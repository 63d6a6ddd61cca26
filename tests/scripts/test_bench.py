"""scripts/bench/run.py measures what it says, and writes it down."""

import argparse
import json
import os
import subprocess
import sys

import pytest
from support.paths import ROOT
from support.script_module import load_script

from meddistill.base.errors import ConfigError


def bench(tmp_path, *arguments):
    command = [
        sys.executable,
        ROOT / "scripts/bench/run.py",
        "--json",
        tmp_path / "out.json",
        "--repeats",
        "2",
        *arguments,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = subprocess.run(
        [str(word) for word in command],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return shown.stdout, json.loads((tmp_path / "out.json").read_text())


@pytest.mark.parametrize(
    ("parts", "more"),
    [
        ("e", ["--images", "1"]),
        pytest.param(
            "b,c",
            ["--images", "2", "--image-size", "64", "--batch-size", "2"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "i,j,k",
            ["--images", "2", "--image-size", "64", "--batch-size", "2"],
            marks=pytest.mark.slow,
        ),
        pytest.param("f", ["--images", "1", "--prepared", "6"], marks=pytest.mark.slow),
        pytest.param(
            "l",
            ["--images", "2", "--image-size", "64", "--batch-size", "2"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_pairs_take_turns_and_are_written_down(tmp_path, parts, more):
    shown, found = bench(tmp_path, "--only", parts, *more)
    assert sorted(found["rows"]) == parts.split(",")
    for name, row in found["rows"].items():
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
        assert row["ours_s"] > 0
        assert f"| {name} {row['what']} |" in shown
    assert found["about"]["date"] in shown


@pytest.mark.slow
def test_each_size_has_its_parameters_beside_its_step(tmp_path):
    _, found = bench(tmp_path, "--only", "m", "--images", "1", "--batch-size", "1")
    rows = found["rows"]
    assert set(rows) == {"m-small", "m-best"}
    assert rows["m-small"]["parameters"] < rows["m-best"]["parameters"]
    assert "192 px" in rows["m-small"]["what"]
    assert 0 < rows["m-best"]["low"] <= rows["m-best"]["ratio"] <= rows["m-best"]["high"]


@pytest.mark.slow
def test_a_steps_share_of_the_matrix_throughput_is_explained(tmp_path):
    shown, found = bench(
        tmp_path, "--only", "h", "--images", "2", "--image-size", "64", "--batch-size", "2"
    )
    row = found["rows"]["h"]
    assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"], rel=0.5)
    assert row["operations"] / row["operations_per_s"] == pytest.approx(row["baseline_s"])
    assert 0 < row["ratio"] < 1
    assert max(row["profile"]["operators_s"], key=row["profile"]["operators_s"].get) in shown


@pytest.mark.slow
def test_volumes_are_measured_and_written_down(tmp_path):
    command = [sys.executable, ROOT / "scripts/bench/volumes.py", "--only", "b,c"]
    more = ["--volumes", "1,2", "--repeats", "1", "--json", tmp_path / "out.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([str(word) for word in command + more], env=environment, check=True, timeout=300)
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["part"] for row in rows] == ["b"] * 4 + ["c"]
    assert rows[0]["peak_mib"] > 20
    assert rows[-1]["slices_per_s"] > 0


@pytest.mark.slow
def test_the_gpu_suite_goes_on_where_it_was_stopped_and_runs_on_a_cpu(tmp_path):
    toy = ["--images", "1", "--image-size", "64", "--batch-size", "1", "--repeats", "1"]
    command = [sys.executable, ROOT / "scripts/bench/run.py", "--gpu-suite", "--out", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*more):
        words = [str(word) for word in (*command, *toy, *more)]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=True)

    stopped = run("--only", "c,n", "--minutes", "0")
    assert "0 minutes are over: the same command goes on with" in stopped.stdout
    (kept,) = tmp_path.glob("*.json")
    written = kept.stat().st_mtime_ns
    whole = run("--only", "c,n")
    assert {path.stem for path in tmp_path.glob("*.json")} == {
        *("step-1", "step-2", "step-8", "precision"),
    }
    assert kept.stat().st_mtime_ns == written
    told = json.loads((tmp_path / "step-8.json").read_text())
    assert told["about"]["arguments"]["batch_size"] == "8"
    assert told["about"]["device"] in whole.stdout
    told["about"]["device"] = "another card"
    (tmp_path / "step-8.json").write_text(json.dumps(told))
    words = [str(word) for word in (*command, *toy, "--only", "c,n")]
    again = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert "was measured with device another card, not" in again.stderr


def test_what_is_typed_wrong_is_one_line():
    for typed, told in (
        (["--only", "c,z"], "--only names no part 'z'"),
        (["--device", "gpu"], "device is 'gpu'; choose from auto, cpu"),
        (["--gpu-suite", "--only", "e"], "--gpu-suite has no figure of part e; choose from a, b"),
    ):
        command = [sys.executable, str(ROOT / "scripts/bench/run.py"), *typed]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert told in done.stderr.splitlines()[-1]


def test_the_suite_takes_no_figure_of_other_arguments_for_its_own(tmp_path):
    suite = load_script("bench/_gpu_suite")
    asked = {"student": "default", "device": "cpu", "images": 1, "image_size": 64}
    asked |= {"batch_size": 1, "repeats": 1, "only": "c", "out": tmp_path, "minutes": 8.0}
    args = argparse.Namespace(**asked, teacher="litemedsam", prepared=1)

    def measure(arguments):
        kept = {name: str(value) for name, value in vars(arguments).items()}
        return {"about": {**suite.where("cpu"), "arguments": kept}, "rows": {}}

    here = suite.where("cpu")
    assert len(suite.run_suite(args, measure)) == 3
    assert len(suite.run_suite(args, None)) == 3  # all are there
    for name, value in (("device", "cuda"), ("image_size", 256), ("only", "b,c")):
        other = argparse.Namespace(**{**vars(args), name: value})
        with pytest.raises(ConfigError, match=f"was measured with --{name.replace('_', '-')} "):
            suite.run_suite(other, measure)
    for name in ("device", "torch"):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(suite, "where", lambda _, name=name: {**here, name: "another"})
            with pytest.raises(ConfigError, match=f"was measured with {name} .*, not another"):
                suite.run_suite(args, measure)
