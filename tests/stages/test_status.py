"""`meddistill status`: what RUN holds, whatever state it is in, and the one command that comes
next."""

import dataclasses
import shutil
import subprocess
import sys

import pytest
from support.label_run import make_run as make_label_run

from meddistill.base.csv_tables import write_table
from meddistill.base.errors import InputError
from meddistill.base.files import read_json, write_json, write_text
from meddistill.labelling.actions import Action, Box
from meddistill.labelling.book import LabelBook
from meddistill.run import lock, recorded_options
from meddistill.run.dataset import Dataset
from meddistill.run.fingerprints import fingerprint_file, fingerprint_stage
from meddistill.run.layout import (
    AUDIT_CSV,
    BOXES_CSV,
    CASES_CSV,
    METRICS_CSV,
    RUN_JSON,
    UNFINISHED_JSON,
    RunDir,
)
from meddistill.run.record import Stage
from meddistill.run.tables import Case, read_cases
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare
from meddistill.stages.status import run_status

SPLITS = {
    split: {"cases": count, "unknown": 0}
    for split, count in (("train", 6), ("val", 2), ("test", 2))
}
PREPARED = {"cases": 10, "splits": SPLITS, "boxes": {"boxes": 11}, "rejected": 1}
DETECTED = {
    "confidence": 0.25,
    "recall50_val": 0.8,
    "precision50_val": None,
    "map50_val": 0.7,
    "cases": 10,
    "cases_without_box": 3,
}
DISTILLED = {
    "best_epoch": 7,
    "epochs": 9,
    "agreement": 0.91,
    "train_cases": 5,
    "cases_without_box": 1,
    "targets_rejected": 0,
}
EVALUATED = {"dice": {"student": {"n": 2, "mean": 0.71}, "teacher": {"n": 2, "mean": 0.72}}}


def make(out, name, inputs, results, settings=None, content="made"):
    stage = Stage.open(out, name, settings or {}, inputs)
    write_text(out / BOXES_CSV, content)
    stage.finish(results, [out / BOXES_CSV])


def make_student(run, out, **settings):
    inputs = {"data": fingerprint_stage(run.data), "targets": "t"}
    make(out, "distill", inputs, DISTILLED, settings, content=out.name)


def make_eval(run, out, student):
    make(
        out,
        "eval",
        {"data": fingerprint_stage(run.data), "student": fingerprint_stage(student)},
        EVALUATED,
    )


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A machine with one: no other teacher than the default suits it better."""
    monkeypatch.setattr(recorded_options, "has_gpu", lambda: True)


@pytest.fixture
def run(tmp_path):
    """A whole RUN, without the files that `status` does not read."""
    run = RunDir(tmp_path / "run")
    make(run.data, "prepare", {"source": "s"}, PREPARED)
    case = Case("a", "train", "", "", "boxes", True, "a.png", 8, 8, 1, "", "", "")
    write_table(run.data / CASES_CSV, Case, [case])
    data = fingerprint_stage(run.data)
    make(run.detector, "detect", {"data": data, "weights": "w"}, DETECTED)
    boxes = fingerprint_file(run.detector / BOXES_CSV)
    make(run.teacher, "teacher", {"data": data, "boxes": boxes}, {"cases": 10, "accepted": 8})
    make_student(run, run.student)
    make_eval(run, run.eval, run.student)
    return run


def shown(run, capsys):
    """The state of each directory, the rows as printed, and the command after `next: `."""
    capsys.readouterr()
    states = {look.directory.name: look.state for look in run_status(run)}
    _, *rows, last = capsys.readouterr().out.splitlines()
    assert last.startswith("next: ")
    return states, {row.split()[0]: row for row in rows}, last.removeprefix("next: ")


def test_a_whole_run_shows_its_numbers_and_what_to_do_with_it(run, capsys):
    states, rows, following = shown(run, capsys)
    assert set(states.values()) == {"done"}
    assert list(rows) == ["data", "detector", "teacher", "student", "eval"]
    for name, words in {
        "data": ["cases 10 (train 6, val 2, test 2)", "boxes 11", "rejected 1 files"],
        "detector": ["recall 0.800, mAP50 0.700", "threshold 0.250", "without a box 3 of 10 cases"],
        "teacher": ["accepted 8 of 10 targets"],
        "student": ["agreement 0.910", "epoch 7 of 9", "learned from 5 cases, 1 left out"],
        "eval": ["student 0.710, teacher 0.720", "cases 2"],
    }.items():
        assert all(word in rows[name] for word in words), rows[name]
        assert "0:00" in rows[name]  # how long it took
    assert following == f"meddistill predict {run.student} IMAGES... --out predictions"


def test_an_empty_run_begins_with_prepare(tmp_path, capsys):
    states, _, following = shown(RunDir(tmp_path), capsys)
    assert set(states.values()) == {"missing"}
    assert following == f"meddistill prepare {tmp_path} --source DIR"


def test_a_run_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(
        InputError, match=r"is not there; `meddistill prepare .* --source DIR` makes it"
    ):
        run_status(RunDir(tmp_path / "typo"))


@pytest.mark.parametrize(
    ("there", "following"),
    [
        (["data"], "detect {run}"),
        (["data", "detector"], "distill {run}"),
        (["data", "detector", "teacher"], "distill {run}"),
        (
            ["data", "teacher", "student"],
            "eval {run}",
        ),  # boxes were annotated: it needed no detector
    ],
)
def test_what_is_missing_comes_next(run, capsys, there, following):
    for name in {"data", "detector", "teacher", "student", "eval"} - set(there):
        shutil.rmtree(run.root / name)
    assert shown(run, capsys)[2] == f"meddistill {following.format(run=run.root)}"


def test_boxes_that_were_drawn_since_are_taken_over_next(tmp_path, capsys):
    run = make_label_run(tmp_path)
    book = LabelBook(run.labels, Dataset.open(run.data), ("lesion",))
    book.close()
    assert shown(run, capsys)[2] == f"meddistill distill {run.root}"
    book = LabelBook(run.labels, Dataset.open(run.data), ("lesion",))
    box = Box("b1", (8, 8, 24, 40), "lesion")
    book.save(Action("a", "images/003.png", "draw", box=box))
    book.close()
    states, rows, following = shown(run, capsys)
    assert states["data"] == "outdated"
    assert f"boxes were drawn in {run.labels} since; cases 8" in rows["data"]
    assert following == f"meddistill prepare {run.root} --update"
    run_prepare(run, PrepareConfig(), seed=0, update=True)
    assert shown(run, capsys)[2] == f"meddistill distill {run.root}"


def test_few_boxes_need_no_detector(run, capsys):
    for name in ("detector", "teacher", "student", "eval"):
        shutil.rmtree(run.root / name)
    boxed = read_cases(run.data)[0]
    unboxed = dataclasses.replace(boxed, case_id="b", annotation="unknown", n_boxes=0)
    write_table(run.data / CASES_CSV, Case, [boxed, unboxed])
    assert shown(run, capsys)[2] == f"meddistill distill {run.root}"


def test_an_unfinished_training_says_how_far_it_is(run, capsys):
    shutil.rmtree(run.student)
    Stage.open(run.student, "distill", {}, {"data": fingerprint_stage(run.data)})._release()
    write_text(run.student / METRICS_CSV, "epoch,loss\n1,0.5\n2,0.4\n")
    states, rows, following = shown(run, capsys)
    assert states["student"] == "unfinished"
    assert "2 epochs so far" in rows["student"]
    assert following.startswith(
        f"meddistill distill {run.root}  # with the options it was begun with"
    )


def test_a_stage_that_is_being_written_is_waited_for(run, capsys):
    (run.detector / RUN_JSON).rename(run.detector / UNFINISHED_JSON)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from meddistill.run import lock\n"
            "lock.acquire(Path(sys.argv[1])); print(flush=True); input()",
            str(run.detector),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        holder.stdout.readline()
        states, _, following = shown(run, capsys)
        assert states["detector"] == "running"
        assert following == f"wait for {run.detector}: it is being written"
    finally:
        holder.communicate(b"\n")
    assert shown(run, capsys)[0]["detector"] == "unfinished"
    lock.acquire(run.detector)  # looking took no lock that stays
    lock.release(run.detector)


def test_what_was_made_from_other_data_is_told(run, capsys):
    (run.data / RUN_JSON).unlink()
    shutil.rmtree(run.data)
    make(run.data, "prepare", {"source": "another"}, PREPARED)
    states, rows, following = shown(run, capsys)
    assert states == {
        "data": "done",
        "detector": "outdated",
        "teacher": "outdated",
        "student": "outdated",
        "eval": "outdated",
    }
    assert "made from another data than RUN holds now" in rows["student"]
    assert following == f"meddistill detect {run.root} --overwrite"


def test_a_teacher_that_other_boxes_prompted_is_told_unless_they_were_given(run, capsys):
    shutil.rmtree(run.detector)
    make(
        run.detector,
        "detect",
        {"data": fingerprint_stage(run.data)},
        DETECTED,
        content="other boxes",
    )
    states, rows, following = shown(run, capsys)
    assert states["teacher"] == "outdated"
    assert "prompted by other boxes than RUN/detector holds now" in rows["teacher"]
    assert following == f"meddistill distill {run.root}"  # targets are keyed: nothing to overwrite
    for path in (run.student, run.eval):
        shutil.rmtree(path)
    make_student(run, run.student, boxes_file="elsewhere.csv")
    assert shown(run, capsys)[0]["teacher"] == "done"


def test_an_evaluation_of_a_student_that_is_gone_is_told(run, capsys):
    shutil.rmtree(run.student)
    make_student(run, run.student, epochs=3)
    states, rows, following = shown(run, capsys)
    assert states["eval"] == "outdated"
    assert "of a student that RUN does not hold now" in rows["eval"]
    assert following == f"meddistill eval {run.root} --overwrite"


def test_more_students_and_evaluations_have_their_rows(run, capsys):
    second = run.root / "student-b"
    make_student(run, second, epochs=3)
    states, rows, following = shown(run, capsys)
    assert list(rows) == ["data", "detector", "teacher", "student", "student-b", "eval"]
    assert following == f"meddistill eval {run.root} --student {second} --out {run.root / 'eval-b'}"
    make_eval(run, run.root / "eval-b", second)
    states, _, following = shown(run, capsys)
    assert set(states.values()) == {"done"}
    assert "predict" in following


def update_data(run, **student):
    """Other data, and a second student of these that began from the first."""
    shutil.rmtree(run.data)
    make(run.data, "prepare", {"source": "another"}, PREPARED)
    if student:
        make_student(run, run.root / "student-2", **student)


def test_a_newer_student_of_the_present_data_is_what_comes_next(run, capsys):
    update_data(run, teacher="litemedsam", warm_start=str(run.student))
    second, of_second = run.root / "student-2", run.root / "eval-2"
    states, _, following = shown(run, capsys)
    assert states["student"] == states["eval"] == "outdated"
    assert following == f"meddistill eval {run.root} --student {second} --out {of_second}"
    shutil.rmtree(run.eval)
    assert shown(run, capsys)[2] == following
    make_eval(run, of_second, second)
    assert shown(run, capsys)[2] == f"meddistill predict {second} IMAGES... --out predictions"
    shutil.rmtree(second)
    make_student(run, second, epochs=3)
    assert shown(run, capsys)[2] == f"{following} --overwrite"
    (second / RUN_JSON).rename(second / UNFINISHED_JSON)
    following = shown(run, capsys)[2]
    assert following.startswith(f"meddistill distill {run.root} --epochs 3 --out {second}  # with")


def test_what_overwrites_a_student_has_the_options_it_was_made_with(run, capsys):
    shutil.rmtree(run.student)
    make_student(run, run.student, teacher="litemedsam", image_size=96, seed=1)
    update_data(run)
    shutil.rmtree(run.detector)
    assert shown(run, capsys)[2] == (
        f"meddistill distill {run.root} --seed 1 --teacher litemedsam "
        "--set distill.image_size=96 --overwrite"
    )


def test_what_overwrites_a_detector_or_an_evaluation_has_the_options_it_was_made_with(run, capsys):
    shutil.rmtree(run.detector)
    made = {"train": False, "confidence": 0.3}
    inputs = {"data": fingerprint_stage(run.data), "weights": "w"}
    make(run.detector, "detect", inputs, {**DETECTED, "start": "mine.pt"}, made)
    record = read_json(run.eval / RUN_JSON)
    write_json(run.eval / RUN_JSON, {**record, "settings": {"split": "val", "threshold": 0.4}})
    update_data(run)
    detect = "--no-train --confidence 0.3 --weights mine.pt --overwrite"
    assert shown(run, capsys)[2] == f"meddistill detect {run.root} {detect}"
    for path in (run.detector, run.teacher, run.student):
        shutil.rmtree(path)
    make_student(run, run.student, epochs=3)
    again = f"meddistill eval {run.root} --split val --threshold 0.4"
    assert shown(run, capsys)[2] == f"{again} --overwrite"
    second = run.root / "student-b"
    make_student(run, second, epochs=4)
    shutil.rmtree(run.eval)
    make_eval(run, run.eval, run.student)
    record["settings"]["flip_average"] = True
    write_json(run.root / "eval-b" / RUN_JSON, record)
    options = f"--flip-average --student {second} --out {run.root / 'eval-b'} --overwrite"
    assert shown(run, capsys)[2] == f"meddistill eval {run.root} {options}"


def test_targets_that_were_left_half_made_are_made_whole_for_the_student_that_is_there(run, capsys):
    shutil.rmtree(run.student)
    make_student(run, run.student, teacher="medsam2", image_size=96)
    (run.teacher / RUN_JSON).rename(run.teacher / UNFINISHED_JSON)
    line = f"meddistill distill {run.root} --teacher medsam2 --set distill.image_size=96"
    assert shown(run, capsys)[2] == f"{line}  # makes its targets whole again"


def test_a_student_that_a_script_made_is_one(run, capsys):
    twin = run.root / "student-twin"
    make(
        twin,
        "supervised twin",
        {"data": fingerprint_stage(run.data)},
        {"parameters": 5},
        content="twin",
    )
    make_eval(run, run.root / "eval-twin", twin)
    states, rows, following = shown(run, capsys)
    assert set(states.values()) == {"done"}
    assert list(rows)[-1] == "student-twin"  # what `status` does not know stands last
    assert "predict" in following


def test_a_moved_run_is_the_same(run, capsys, tmp_path):
    before, _, _ = shown(run, capsys)
    moved = RunDir(run.root.rename(tmp_path / "a place with spaces"))
    after, _, following = shown(moved, capsys)
    assert after == before
    assert following.startswith(f"meddistill predict '{moved.student}'")


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        "{}",
        '"text"',
        "\x00",
        '{"stage": "detect"}',
        '{"stage": "detect", "results": []}',
        '{"stage": "detect", "results": {}, "seconds": 1, "finished": "2026-01-01T00:00:00+00:00"}',
        '{"stage": "x", "results": {}, "seconds": "long", "finished": "2026-01-01T00:00:00+00:00"}',
        '{"stage": "x", "results": {}, "seconds": 1, "finished": "yesterday"}',
        '{"inputs": 3}',
    ],
)
def test_a_damaged_run_json_is_a_row(run, capsys, damage):
    write_text(run.detector / RUN_JSON, damage)
    states, rows, following = shown(run, capsys)
    assert states["detector"] == "unreadable"
    assert len(rows) == 5
    assert following == f"meddistill detect {run.root} --overwrite"


def test_it_changes_nothing_and_needs_no_torch(run):
    before = {path: path.stat().st_mtime_ns for path in run.root.rglob("*")}
    code = (
        "import sys; from pathlib import Path; from meddistill.run.layout import RunDir\n"
        "from meddistill.stages.status import run_status; run_status(RunDir(Path(sys.argv[1])))\n"
        "assert not {'torch', 'cv2', 'ultralytics', 'omegaconf'} & sys.modules.keys(), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code, str(run.root)], check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in run.root.rglob("*")} == before


def test_a_student_that_no_mask_judged_is_audited(run, capsys):
    record = read_json(run.eval / RUN_JSON)
    write_json(run.eval / RUN_JSON, {**record, "results": {"dice": {}}})
    _, rows, following = shown(run, capsys)
    assert rows["eval"].endswith("Dice no true mask to judge by")
    assert following == f"meddistill label {run.root} --audit 30"
    (run.labels / "audit").mkdir(parents=True)
    write_text(run.labels / "audit" / AUDIT_CSV, "")
    assert shown(run, capsys)[2] == f"meddistill eval {run.root} --overwrite"
