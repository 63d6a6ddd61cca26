"""`meddistill verify` names what is missing or changed."""

import pytest

from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import InputError, StageError
from meddistill.base.files import read_json, write_json, write_text
from meddistill.base.hashing import sha256_file
from meddistill.run.fingerprints import fingerprint_stage
from meddistill.run.layout import CASES_CSV, RunDir
from meddistill.run.record import Stage
from meddistill.run.tables import Case
from meddistill.stages.verify import run_verify


@pytest.fixture
def run(tmp_path):
    """A RUN of two stages: data with one image, and a detector made from it."""
    run = RunDir(tmp_path)
    data = Stage.open(run.data, "prepare", {}, {})
    image = run.data / "images/test/a.png"
    write_text(image, "pixels")
    case = Case(
        "a",
        "test",
        "g",
        "",
        "none",
        False,
        "images/test/a.png",
        8,
        8,
        0,
        "",
        "a.jpg",
        sha256_file(image),
    )
    write_table(run.data / CASES_CSV, Case, [case])
    data.finish({}, [run.data / CASES_CSV])
    detector = Stage.open(run.detector, "detect", {}, {"data": fingerprint_stage(run.data)})
    write_text(run.detector / "boxes.csv", "boxes")
    detector.finish({}, [run.detector / "boxes.csv"])
    return run


def test_an_untouched_run_passes(run, capsys):
    assert run_verify(run) == 3
    captured = capsys.readouterr()
    assert captured.out == "3 files of 2 stages are what was written\n"
    assert "warning" not in captured.err


def test_a_changed_table_a_changed_image_and_a_missing_file_are_named(run):
    write_text(run.data / "images/test/a.png", "Pixels")
    (run.detector / "boxes.csv").unlink()
    with pytest.raises(
        StageError, match=r"2 of 3 files .*a\.png has changed; .*boxes\.csv is missing"
    ):
        run_verify(run)


def test_a_stage_made_from_other_data_is_told(run, capsys):
    case = read_table(run.data / CASES_CSV, Case)[0]
    data = Stage.open(run.data, "prepare", {"other": 1}, {}, refresh=True)
    write_table(run.data / CASES_CSV, Case, [case, case])
    data.finish({}, [run.data / CASES_CSV])
    run_verify(run)
    assert "detector was made from another data than" in " ".join(capsys.readouterr().err.split())


def test_a_run_json_that_points_outside_is_refused(run):
    record = read_json(run.detector / "run.json")
    record["outputs"]["../secret"] = {"bytes": 1, "sha256": "0"}
    write_json(run.detector / "run.json", record)
    with pytest.raises(InputError, match=r"names a file outside its directory: \.\./secret"):
        run_verify(run)


def test_nothing_to_verify_is_one_line(tmp_path):
    with pytest.raises(StageError, match="holds no finished stage"):
        run_verify(RunDir(tmp_path))
