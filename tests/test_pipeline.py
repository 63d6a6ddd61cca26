"""The four commands one after the other on tiny sample data: exactly the promised files, and no
look at a mask."""

import hashlib
import shutil
import signal
import sys

import pytest

from meddistill.base.csv_tables import read_table
from meddistill.cli import app as cli
from meddistill.data.sources.phantom import write_phantom
from meddistill.pipeline import DEMO_SEED, QUICKSTART, demo_answer
from meddistill.run.layout import QUALITY_CSV, RunDir
from meddistill.run.tables import QualityRow, read_cases

SETTINGS = """
prepare: {test_fraction: 0.34, val_fraction: 0.5}
detect: {weights: yolo11n.yaml, epochs: 1, image_size: 64, batch_size: 8, mosaic: 0.0}
distill:
  teacher: litemedsam
  encoder_weights: none
  decoder_channels: [16, 16, 8, 8, 8]
  image_size: 64
  epochs: 1
  precision: 32-true
  targets: {jitter_copies: 1}
"""


def meddistill(*arguments):
    """Run a command in this process as the console script would."""
    argv, sys.argv = sys.argv, ["meddistill", *map(str, arguments)]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    status = 0
    try:
        cli.main()
    except SystemExit as stop:
        status = stop.code or 0
    finally:
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert status == 0, arguments


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def hashes_of(folder):
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files_of(folder)
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def run(root):
    """A RUN that the four commands made."""
    write_phantom(root / "source", cases=6, seed=0, size=128)
    (root / "tiny.yaml").write_text(SETTINGS, encoding="utf-8")
    run = root / "run"
    common = ["--config", root / "tiny.yaml"]
    meddistill("-q", "prepare", run, "--source", root / "source", *common)
    for command in ("detect", "distill", "eval"):
        meddistill("-q", command, run, *common, "--device", "cpu")
    return RunDir(run)


def test_each_stage_leaves_exactly_its_files(run):
    cases = {split: [] for split in ("train", "val", "test")}
    for case in read_cases(run.data):
        cases[case.split].append(case.case_id)
    assert all(cases.values())
    assert sum(map(len, cases.values())) == 6
    per_case = {
        f"{kind}/{split}/{case_id}.{suffix}"
        for kind, suffix in (("images", "png"), ("masks", "png"), ("labels", "txt"))
        for split, ids in cases.items()
        for case_id in ids
    }
    assert files_of(run.data) == per_case | {
        "cases.csv",
        "converted.jsonl",
        "data.yaml",
        "duplicates.csv",
        "rejected.csv",
        "report.html",
        "run.json",
        "source_index.csv",
        "train.txt",
        "val.txt",
        "test.txt",
    }
    assert files_of(run.detector) == {
        "boxes.csv",
        "metrics.json",
        "results.csv",
        "run.json",
        "train.log",
        "weights/best.pt",
    }
    key_of = {row.case_id: row.key for row in read_table(run.teacher / QUALITY_CSV, QualityRow)}
    assert key_of.keys() == {*cases["train"], *cases["val"], *cases["test"]}
    taught = cases["train"] + cases["val"]
    assert files_of(run.teacher) == {
        "feature_basis.npz",
        "least_trusted.png",
        "quality.csv",
        "run.json",
    } | {
        f"{kind}/{case_id}.{key_of[case_id]}.npz"
        for kind, ids in (("targets", key_of), ("features", taught))
        for case_id in ids
    }
    events = {name for name in files_of(run.student) if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert files_of(run.student) - events == {
        "README.md",
        "config.json",
        "last.ckpt",
        "metrics.csv",
        "model.safetensors",
        "preprocessing.json",
        "run.json",
        "trust.json",
        "trust.safetensors",
    }
    pictures = {
        f"{kind}/{case_id}.png" for kind in ("masks", "overlays") for case_id in cases["test"]
    }
    assert files_of(run.eval) == pictures | {
        "per_case.csv",
        "report.html",
        "run.json",
        "summary.json",
    }
    assert {path.name for path in run.root.iterdir()} == {
        "data",
        "detector",
        "teacher",
        "student",
        "eval",
    }


def test_distill_gives_the_same_student_without_the_true_masks(run, tmp_path, root):
    copy = RunDir(tmp_path / "copy")
    for stage in ("data", "detector"):
        shutil.copytree(run.root / stage, copy.root / stage)
    shutil.rmtree(copy.data / "masks")
    meddistill("-q", "distill", copy.root, "--config", root / "tiny.yaml", "--device", "cpu")
    weights = "model.safetensors"
    assert (copy.student / weights).read_bytes() == (run.student / weights).read_bytes()
    assert (copy.teacher / "quality.csv").read_bytes() == (run.teacher / "quality.csv").read_bytes()


def test_run_keeps_what_the_four_commands_made(run, root, capsys):
    before = hashes_of(run.root)
    meddistill(
        "run",
        run.root,
        "--source",
        root / "source",
        "--config",
        root / "tiny.yaml",
        "--device",
        "cpu",
    )
    assert hashes_of(run.root) == before
    shown = capsys.readouterr().err
    assert [line[4:16] for line in shown.splitlines() if line.startswith("--- ")] == [
        "stage 1 of 4",
        "stage 2 of 4",
        "stage 3 of 4",
        "stage 4 of 4",
    ]


def test_demo_ends_with_the_comparison_and_what_to_type_next(run):
    answer = demo_answer(run, 300.4)
    assert "300 s" in answer
    assert "student" in answer
    assert "boxes, filled in" in answer
    assert str(run.eval / "report.html") in answer
    assert "--source DIR" in answer


def test_demo_needs_no_download():
    assert QUICKSTART.detect.weights.endswith(".yaml")
    assert QUICKSTART.distill.teacher == "litemedsam"
    assert QUICKSTART.distill.encoder_weights == "none"
    assert QUICKSTART.seed == DEMO_SEED == 0
