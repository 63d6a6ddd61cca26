"""`meddistill detect`: what Ultralytics leaves, and what is refused. One real
training of one epoch."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.detector_data import SIZE, write_data

from meddistill.base import downloads
from meddistill.base.csv_tables import write_table
from meddistill.base.errors import InputError, StageError, WeightsError
from meddistill.base.files import read_json
from meddistill.detector import start_weights
from meddistill.detector.worker_process import WorkerOptions
from meddistill.detector.yolo import Detections, predict_boxes
from meddistill.run.labels import annotated_boxes
from meddistill.run.layout import (
    BEST_PT,
    BOXES_CSV,
    CASES_CSV,
    LAST_PT,
    METRICS_JSON,
    RUN_JSON,
    TRAIN_LOG,
    RunDir,
)
from meddistill.run.tables import Case, read_boxes
from meddistill.settings.detect import DetectConfig
from meddistill.stages.detect import box_rows, measure, run_detect

ANNOTATIONS = {
    **{f"train-{i}": "boxes" for i in range(9)},
    "train-healthy": "none",
    "train-bare1": "unknown",
    "train-bare2": "unknown",
    **{f"val-{i}": "boxes" for i in range(2)},
    "test-0": "boxes",
    "test-bare": "unknown",
}
QUICK = DetectConfig(weights="yolo11n.yaml", epochs=1, image_size=SIZE, batch_size=8)
CPU = WorkerOptions("cpu")
NOTHING = Detections(np.zeros((0, 4), dtype=np.float32), np.zeros(0), ())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A RUN after one epoch, and the home directory that it had."""
    run, home = RunDir(tmp_path_factory.mktemp("run")), tmp_path_factory.mktemp("home")
    cases = write_data(run.data, ANNOTATIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "YOLO_CONFIG_DIR"):
            patch.delenv(name, raising=False)
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"):
            patch.delenv(name, raising=False)
        patch.setenv("OMP_DISPLAY_ENV", "verbose")  # OpenMP says what it goes by, into the log
        before = sorted(run.data.rglob("*"))
        run_detect(run, QUICK, seed=0, device="cpu")
    return run, cases, home, before


def test_training_leaves_what_the_contract_names(trained):
    run, cases, home, before = trained
    files = {
        path.relative_to(run.detector).as_posix()
        for path in run.detector.rglob("*")
        if path.is_file()
    }
    assert files == {
        "weights/best.pt",
        "boxes.csv",
        "metrics.json",
        "results.csv",
        "train.log",
        "run.json",
    }
    assert list(home.rglob("*")) == []
    assert sorted(run.data.rglob("*")) == before
    assert set(read_json(run.detector / RUN_JSON)["outputs"]) == {
        "weights/best.pt",
        "boxes.csv",
        "metrics.json",
    }
    metrics = read_json(run.detector / METRICS_JSON)
    assert metrics["training"]["epochs"] == 1
    assert metrics["training"]["start"] == "yolo11n.yaml, random weights"
    assert metrics["splits"]["train"]["n_cases"] == 12
    assert metrics["splits"]["train"]["n_annotated_boxes"] == 9
    read_boxes(run.detector / BOXES_CSV, cases)


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere torch brings another OpenMP than GNU's"
)
def test_threads_of_the_worker_do_not_spin(trained):
    assert "GOMP_SPINCOUNT = '0'" in (trained[0].detector / TRAIN_LOG).read_text()


def test_a_finished_detector_is_left_alone_and_other_settings_are_refused(trained):
    run = trained[0]
    stamp = (run.detector / RUN_JSON).stat().st_mtime_ns
    run_detect(run, QUICK, seed=0, device="cpu")
    assert (run.detector / RUN_JSON).stat().st_mtime_ns == stamp
    with pytest.raises(StageError, match=r"finished with other settings .*epochs was 1, now 2"):
        run_detect(
            run,
            DetectConfig(weights="yolo11n.yaml", epochs=2, image_size=SIZE, batch_size=8),
            seed=0,
        )


def test_a_trained_detector_is_taken_as_it_is(trained, tmp_path):
    run, cases, *_ = trained
    given = run.detector / BEST_PT
    config = DetectConfig(weights=str(given), train=False, image_size=SIZE, confidence=0.0)
    out = run_detect(run, config, seed=0, device="cpu", out=tmp_path / "detector")
    assert (out / BEST_PT).read_bytes() == given.read_bytes()
    found = read_boxes(out / BOXES_CSV, cases)
    for case in cases:
        for row in found.get(case.case_id, []):
            assert (row.split, row.class_name) == (case.split, "lesion")
            assert 0 <= row.x1 < row.x2 <= SIZE
            assert 0 <= row.y1 < row.y2 <= SIZE
    assert read_json(out / METRICS_JSON)["confidence_source"] == "given"


def test_weights_hold_no_path_of_this_machine(trained):
    run = trained[0]
    assert str(run.root).encode() not in (run.detector / BEST_PT).read_bytes()


class _Poison:
    def __reduce__(self):
        return os.system, ("touch " + os.environ["POISON"],)


def test_weights_with_code_inside_are_refused_and_the_code_is_not_run(tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("POISON", str(tmp_path / "ran"))
    torch.save({"model": _Poison(), "train_args": {}}, tmp_path / "poison.pt")
    with pytest.raises(
        WeightsError, match=r"poison\.pt was not loaded as a detector: .*--trust-weights"
    ):
        predict_boxes(tmp_path / "poison.pt", [tmp_path / "x.png"], SIZE, CPU)
    assert not (tmp_path / "ran").exists()


def test_an_image_that_cannot_be_read_is_named(trained, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"broken\.png cannot be read as an image"):
        predict_boxes(trained[0].detector / BEST_PT, [tmp_path / "broken.png"], SIZE, CPU)


def test_nothing_to_learn_from_is_one_clear_line(tmp_path):
    write_data(tmp_path / "a/data", {"train-0": "unknown", "val-0": "boxes"})
    with pytest.raises(StageError, match=r"no training case in .* has a box.*--no-train"):
        run_detect(RunDir(tmp_path / "a"), QUICK, seed=0)
    write_data(tmp_path / "b/data", {"train-0": "boxes", "test-0": "boxes"})
    with pytest.raises(StageError, match=r"has no validation split.*--val"):
        run_detect(RunDir(tmp_path / "b"), QUICK, seed=0)
    with pytest.raises(StageError, match=r"run `meddistill prepare` first"):
        run_detect(RunDir(tmp_path / "c"), QUICK, seed=0)
    assert not list(tmp_path.rglob("detector"))


def test_the_threshold_falls_back_where_no_validation_case_has_a_box(tmp_path):
    cases = write_data(tmp_path, {"train-0": "boxes", "val-0": "unknown"})
    boxes = annotated_boxes(tmp_path, cases[0])
    found = [Detections(boxes, np.array([0.9]), ("lesion",)), NOTHING]
    metrics, confidence = measure(cases, found, [boxes, np.zeros((0, 4))], DetectConfig())
    assert confidence == 0.25
    assert metrics["recall50_val"] is None
    assert metrics["splits"]["train"]["recall50"] == 1.0


def test_a_box_in_an_unknown_case_is_neither_right_nor_wrong_but_is_written(tmp_path):
    cases = write_data(tmp_path, {"val-0": "boxes", "val-bare": "unknown", "val-healthy": "none"})
    boxes = annotated_boxes(tmp_path, cases[0])
    hit = Detections(boxes, np.array([0.9]), ("lesion",))
    # Surer than the hit: counted, it would cost precision at every threshold.
    found = [hit, Detections(boxes, np.array([0.95]), ("lesion",)), NOTHING]
    targets = [annotated_boxes(tmp_path, case) for case in cases]
    metrics, confidence = measure(cases, found, targets, DetectConfig())
    assert confidence == 0.9
    assert metrics["confidence_source"].startswith("lowest within 0.03 of the best F1")
    assert (metrics["precision50_val"], metrics["recall50_val"], metrics["map50_val"]) == (
        1.0,
        1.0,
        1.0,
    )
    assert metrics["splits"]["val"]["n_cases_without_box"] == 1
    assert metrics["splits"]["val"]["n_lesion_cases_without_box"] == 0
    assert [row.case_id for row in box_rows(cases, found, 0.5, 5)] == ["val-0", "val-bare"]


def test_at_most_the_surest_boxes_of_a_case_are_kept(tmp_path):
    cases = write_data(tmp_path, {"test-0": "boxes"})
    many = Detections(
        np.tile(np.float32([[1, 2, 30, 40]]), (4, 1)),
        np.array([0.9, 0.8, 0.7, 0.1]),
        ("a", "b", "c", "d"),
    )
    rows = box_rows(cases, [many], 0.5, 2)
    assert [(row.confidence, row.class_name) for row in rows] == [(0.9, "a"), (0.8, "b")]


def no_network(wanted):
    raise WeightsError(f"{wanted}: no network")


def test_an_official_name_without_file_and_network_trains_from_its_yaml(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("MEDDISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, "download", no_network)
    start = start_weights.find_start("yolo11n.pt", train=True)
    assert (start.argument, start.path) == ("yolo11n.yaml", None)
    assert "the detector starts from random weights" in capsys.readouterr().err
    with pytest.raises(WeightsError, match="no network"):
        start_weights.find_start("yolo11n.pt", train=False)


def test_what_was_asked_for_is_known_without_a_network(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, "download", no_network)
    official = start_weights.fingerprint_start("yolo11n.pt")
    assert official == start_weights.OFFICIAL["yolo11n.pt"].sha256
    Path("yolo11n.pt").write_bytes(b"something else")
    assert start_weights.fingerprint_start("yolo11n.pt") != official
    assert start_weights.fingerprint_start("yolo11n.yaml") == "yolo11n.yaml"


def test_an_image_in_the_place_of_another_is_refused(tmp_path):
    data = tmp_path / "data"
    cases = write_data(data, {"train-0": "boxes", "val-0": "boxes"})
    changed = [dataclasses.replace(case, sha256="a" * 64) for case in cases]
    write_table(data / CASES_CSV, Case, changed)
    with pytest.raises(InputError, match="is not the image that prepare wrote"):
        run_detect(RunDir(tmp_path), QUICK, seed=0, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_weights_that_are_missing_leave_no_trace(tmp_path):
    write_data(tmp_path / "data", {"train-0": "boxes", "val-0": "boxes"})
    with pytest.raises(WeightsError, match=r"nowhere\.pt do not exist"):
        run_detect(RunDir(tmp_path), DetectConfig(weights="nowhere.pt"), seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_weights_that_do_not_exist_are_named_with_the_nearest_official_ones(tmp_path):
    with pytest.raises(WeightsError, match=r"yolo11m\.pt do not exist; did you mean 'yolo11n\.pt'"):
        start_weights.find_start("yolo11m.pt", train=True)
    with pytest.raises(WeightsError, match=r"needs a \.pt file"):
        start_weights.find_start("yolo11n.yaml", train=False)


def _wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc")
def test_a_killed_training_takes_its_worker_along_and_goes_on_to_the_same_epoch(tmp_path):
    run = RunDir(tmp_path)
    write_data(run.data, ANNOTATIONS)
    settings = {
        "weights": "yolo11n.yaml",
        "epochs": 30,
        "patience": 100,
        "image_size": SIZE,
        "batch_size": 8,
    }
    typed = [f"--set=detect.{key}={value}" for key, value in settings.items()]
    first = subprocess.Popen(
        [sys.executable, "-m", "meddistill", "detect", str(tmp_path), "--device", "cpu", *typed]
    )
    _wait_until((run.detector / LAST_PT).exists, 600)
    workers = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    assert workers
    first.kill()
    first.wait()
    _wait_until(lambda: not any(_runs(pid) for pid in workers), 60)
    assert not (run.detector / RUN_JSON).exists()

    run_detect(run, DetectConfig(**settings), seed=0, device="cpu")
    assert "Resuming training" in (run.detector / TRAIN_LOG).read_text()
    assert read_json(run.detector / METRICS_JSON)["training"]["epochs"] == 30
    assert not (run.detector / LAST_PT).exists()
