"""`meddistill distill` with a teacher that paints its boxes: targets, student, and no look at a
mask."""

import csv
import dataclasses
import json
import shutil

import pytest
from support.painting_teacher import PaintingTeacher
from support.tiny_student import TinyStudent

from meddistill.base.csv_tables import write_table
from meddistill.base.errors import ConfigError, StageError, WeightsError
from meddistill.base.files import write_json
from meddistill.colearning import distillation
from meddistill.data.sources.phantom import write_phantom
from meddistill.run.fingerprints import fingerprint_stage
from meddistill.run.layout import BOXES_CSV, RunDir
from meddistill.run.tables import BoxRow, read_cases
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.prepare import run_prepare
from meddistill.stages.verify import run_verify
from meddistill.training import fitting

SIZE = 64
CONFIG = DistillConfig(
    encoder_weights="none",
    image_size=SIZE,
    epochs=2,
    batch_size=4,
    targets=TargetsConfig(jitter_copies=2),
    precision="32-true",
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    write_phantom(root / "source", cases=24, seed=0, size=SIZE)
    run = RunDir(root / "run")
    run_prepare(run, PrepareConfig(source=str(root / "source"), dataset="folder"), seed=0)
    return run


@pytest.fixture
def tiny_student(monkeypatch):
    monkeypatch.setattr(fitting, "build_student", lambda *_, **__: TinyStudent())


@pytest.fixture
def run(prepared, tmp_path, tiny_student):
    shutil.copytree(prepared.root, tmp_path / "run")
    return RunDir(tmp_path / "run")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_teacher_runs_in_the_precision_of_the_student(run, monkeypatch, precision):
    asked = {}

    def load(name, **options):
        asked.update(options, name=name)
        return PaintingTeacher()

    monkeypatch.setattr(distillation, "load_teacher", load)
    run_distill(
        run,
        dataclasses.replace(CONFIG, teacher="litemedsam", epochs=1, precision=precision),
        device="cpu",
    )
    assert (asked["name"], asked["precision"]) == ("litemedsam", precision)


def add_detector(run):
    """A detector that finds every test case's middle."""
    rows = [
        BoxRow(case.case_id, case.split, 20, 20, 40, 40, 0.9, "lesion")
        for case in read_cases(run.data)
    ]
    write_table(run.detector / BOXES_CSV, BoxRow, rows)
    write_json(run.detector / "run.json", {"stage": "detect"})


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_it_leaves_targets_and_a_student(run):
    teacher = PaintingTeacher()
    student = run_distill(run, CONFIG, device="cpu", teacher=teacher)
    assert student == run.student
    names = {path.name for path in student.iterdir() if not path.name.startswith("events")}
    assert names == {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessing.json",
        "metrics.csv",
        "last.ckpt",
        "previous.ckpt",
        "run.json",
        "trust.json",
        "trust.safetensors",
    }
    assert len(table(student / "metrics.csv")) == 2
    quality = table(run.teacher / "quality.csv")
    assert {row["split"] for row in quality} == {
        "train",
        "val",
    }  # no detector: no targets of test cases
    record = json.loads((student / "run.json").read_text())
    assert record["results"]["train_cases"] + record["results"]["val_cases"] == len(quality)
    assert set(record["outputs"]) == {
        "config.json",
        "model.safetensors",
        "preprocessing.json",
        "metrics.csv",
    }


def test_masks_are_never_read_and_the_same_seed_gives_the_same_bytes(run, tmp_path):
    whole = RunDir(tmp_path / "whole")
    shutil.copytree(run.root, whole.root)
    shutil.rmtree(run.data / "masks")
    for each in (run, whole):
        run_distill(each, CONFIG, device="cpu", teacher=PaintingTeacher())
    for name in ("model.safetensors", "metrics.csv", "preprocessing.json"):
        assert (run.student / name).read_bytes() == (whole.student / name).read_bytes()


def test_a_second_student_reuses_the_targets(run):
    teacher = PaintingTeacher()
    run_distill(run, CONFIG, device="cpu", teacher=teacher)
    calls = teacher.calls
    again = run_distill(run, CONFIG, device="cpu", teacher=teacher)
    other = dataclasses.replace(CONFIG, weighting="paper")
    second = run_distill(run, other, device="cpu", teacher=teacher, out=run.root / "student-paper")
    assert teacher.calls == calls
    assert again == run.student
    assert (second / "model.safetensors").read_bytes() != (
        run.student / "model.safetensors"
    ).read_bytes()
    with pytest.raises(StageError, match="pass --overwrite"):
        run_distill(run, other, device="cpu", teacher=teacher)


@pytest.mark.parametrize("same", [True, False])
def test_boxes_of_a_detector_of_other_data_are_told(run, capsys, same):
    add_detector(run)
    data = fingerprint_stage(run.data) if same else "other"
    write_json(run.detector / "run.json", {"stage": "detect", "inputs": {"data": data}})
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    told = " ".join(capsys.readouterr().err.split())
    assert (f"{run.detector} looked at other data than {run.data} holds now" in told) != same


def test_a_box_that_was_changed_by_hand_is_no_longer_the_finished_student(run):
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    label = min(path for path in (run.data / "labels/train").iterdir() if path.stat().st_size)
    label.write_text("0 0.5 0.5 0.25 0.25\n")
    with pytest.raises(StageError, match=r"inputs\.data was"):
        run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    with pytest.raises(StageError, match=f"1 of .* files are not .*{label.name} has changed"):
        run_verify(run)


def test_a_target_that_was_removed_is_made_again(run, capsys):
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    gone = min((run.teacher / "targets").iterdir())
    before = gone.read_bytes()
    gone.unlink()
    out = run.root / "student-2"
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher(), out=out)
    assert "1 of" in (told := capsys.readouterr().err)
    assert "are not there any more: they are made again" in " ".join(told.split())
    assert gone.read_bytes() == before
    assert (run.teacher / "run.json").is_file()
    weights = [each / "model.safetensors" for each in (run.student, out)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_after_an_update_only_new_cases_ask_the_teacher(tmp_path, tiny_student):
    write_phantom(tmp_path / "all", cases=24, seed=0, size=SIZE)
    names = sorted(path.name for path in (tmp_path / "all" / "images").iterdir())
    for folder in ("images", "masks"):
        (tmp_path / "source" / folder).mkdir(parents=True)

    def add(chosen):
        for folder in ("images", "masks"):
            for name in chosen:
                shutil.copy(tmp_path / "all" / folder / name, tmp_path / "source" / folder / name)

    add(names[:14])
    run = RunDir(tmp_path / "run")
    settings = PrepareConfig(
        source=str(tmp_path / "source"), dataset="folder", group_from=r"(\w+?\d+)"
    )
    run_prepare(run, settings, seed=0)
    targets = TargetsConfig(jitter_copies=2, views="whole")
    config = dataclasses.replace(CONFIG, feature_weight=0.0, test_targets=False, targets=targets)
    run_distill(run, config, device="cpu", teacher=PaintingTeacher())
    before = {path.name: path.stat().st_mtime_ns for path in (run.teacher / "targets").iterdir()}

    add(names[14:])
    run_prepare(run, settings, seed=0, update=True)
    teacher = PaintingTeacher()
    with pytest.raises(StageError, match="pass --overwrite"):
        run_distill(run, config, device="cpu", teacher=teacher)
    run_distill(run, config, device="cpu", teacher=teacher, overwrite=True)
    after = {path.name: path.stat().st_mtime_ns for path in (run.teacher / "targets").iterdir()}
    wanted = [case for case in read_cases(run.data) if case.split != "test"]
    assert len(before) < len(after) == len(wanted)
    assert {name: after[name] for name in before} == before
    added = {name.split(".")[0] for name in after.keys() - before.keys()}
    assert teacher.images == sum(case.n_boxes > 0 for case in wanted if case.case_id in added)


def test_test_cases_get_targets_from_the_detectors_boxes(run):
    add_detector(run)
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    found = [row for row in table(run.teacher / "quality.csv") if row["split"] == "test"]
    assert found
    assert {row["prompt_source"] for row in found} == {"detected"}


def test_the_targets_of_test_cases_can_be_left_out(run):
    add_detector(run)
    run_distill(
        run,
        dataclasses.replace(CONFIG, test_targets=False),
        device="cpu",
        teacher=PaintingTeacher(),
    )
    assert {row["split"] for row in table(run.teacher / "quality.csv")} == {"train", "val"}


def test_pictures_and_test_targets_do_not_make_another_student(run, capsys):
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    capsys.readouterr()
    others = dataclasses.replace(CONFIG, picture_every=1, test_targets=False)
    run_distill(run, others, device="cpu", teacher=PaintingTeacher())
    assert "is already made with these settings" in " ".join(capsys.readouterr().err.split())


def test_a_teacher_that_cannot_be_had_does_not_cost_the_last_ones_targets(run):
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    before = (run.teacher / "run.json").read_bytes()
    with pytest.raises(ConfigError, match="did you mean 'litemedsam'"):
        run_distill(
            run, dataclasses.replace(CONFIG, teacher="litemedsa"), device="cpu", overwrite=True
        )
    assert (run.teacher / "run.json").read_bytes() == before
    assert (run.student / "run.json").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused_before_the_teacher_works(run, finished):
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    if not finished:
        (run.student / "run.json").rename(run.student / "unfinished.json")
    before = (run.teacher / "run.json").read_bytes()
    for other, told in [
        (dataclasses.replace(CONFIG, image_size=96), "image_size was 64, now 96"),
        (dataclasses.replace(CONFIG, epochs=3), "epochs was 2, now 3"),
    ]:
        teacher = PaintingTeacher()
        with pytest.raises(StageError, match=rf"{told}\); pass --overwrite .* or --out"):
            run_distill(run, other, device="cpu", teacher=teacher)
        assert teacher.calls == 0
    assert (run.teacher / "run.json").read_bytes() == before
    assert not (run.teacher / "unfinished.json").exists()


def test_unknown_cases_need_a_detector(run):
    cases = table(run.data / "cases.csv")
    victim = next(row for row in cases if row["split"] == "train" and row["annotation"] == "boxes")
    victim.update(annotation="unknown", n_boxes="0")
    with (run.data / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(cases[0]))
        writer.writeheader()
        writer.writerows(cases)
    config = dataclasses.replace(CONFIG, colearning=ColearningConfig(unboxed="detected"))
    with pytest.raises(StageError, match=rf"first: {victim['case_id']}.*run `meddistill detect"):
        run_distill(run, config, device="cpu", teacher=PaintingTeacher())
    add_detector(run)
    run_distill(run, config, device="cpu", teacher=PaintingTeacher())
    assert {
        row["prompt_source"]
        for row in table(run.teacher / "quality.csv")
        if row["case_id"] == victim["case_id"]
    } == {"detected"}


def test_detected_boxes_need_a_detector(run):
    with pytest.raises(StageError, match=r"boxes is 'detected'.*meddistill detect"):
        run_distill(
            run,
            dataclasses.replace(CONFIG, boxes="detected"),
            device="cpu",
            teacher=PaintingTeacher(),
        )


def test_an_unprepared_run_names_the_command(tmp_path):
    with pytest.raises(StageError, match="run `meddistill prepare` first"):
        run_distill(RunDir(tmp_path), CONFIG, device="cpu", teacher=PaintingTeacher())


def test_an_unknown_feature_level_is_refused(run):
    config = dataclasses.replace(CONFIG, feature_levels=["embeding"])
    with pytest.raises(ConfigError, match="did you mean 'embedding'"):
        run_distill(run, config, device="cpu", teacher=PaintingTeacher())


def test_students_of_two_seeds_share_their_targets(run):
    teacher = PaintingTeacher()
    run_distill(run, CONFIG, device="cpu", teacher=teacher)
    calls = teacher.calls
    other = run_distill(
        run, CONFIG, seed=1, device="cpu", teacher=teacher, out=run.root / "student-1"
    )
    assert teacher.calls == calls
    assert (other / "model.safetensors").read_bytes() != (
        run.student / "model.safetensors"
    ).read_bytes()


def test_a_student_stays_finished_when_the_teacher_was_asked_for_more(run):
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    without = dataclasses.replace(CONFIG, feature_weight=0.0)
    run_distill(
        run, without, device="cpu", teacher=PaintingTeacher(), out=run.root / "student-plain"
    )
    add_detector(run)
    made = (run.student / "model.safetensors").stat().st_mtime_ns
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    assert (run.student / "model.safetensors").stat().st_mtime_ns == made


def test_a_better_threshold_is_stored(run):
    student = run_distill(
        run, dataclasses.replace(CONFIG, threshold=None), device="cpu", teacher=PaintingTeacher()
    )
    assert 0.1 <= json.loads((student / "preprocessing.json").read_text())["threshold"] <= 0.9
    fixed = dataclasses.replace(CONFIG, threshold=0.35)
    student = run_distill(
        run, fixed, device="cpu", teacher=PaintingTeacher(), out=run.root / "student-fixed"
    )
    assert json.loads((student / "preprocessing.json").read_text())["threshold"] == 0.35


def test_a_second_round_trains_on_settled_targets(run):
    config = dataclasses.replace(CONFIG, rounds=2, threshold=0.02)
    student = run_distill(run, config, device="cpu", teacher=PaintingTeacher())
    assert (student / "rounds" / "student-1" / "metrics.csv").is_file()
    first, second = table(run.teacher / "quality.csv"), table(student / "rounds" / "quality-2.csv")
    assert sorted(row["case_id"] for row in second) == sorted(row["case_id"] for row in first)
    weights = {row["case_id"]: row["weight"] for row in first}
    changed = [row for row in second if row["weight"] != weights[row["case_id"]]]
    assert changed
    assert {row["split"] for row in changed} == {"train"}


def test_a_later_round_takes_the_network_to_where_a_new_one_is(run, monkeypatch):
    moved = []

    class Elsewhere(TinyStudent):
        def cpu(self):
            moved.append(self)
            return super().cpu()

    monkeypatch.setattr(fitting, "build_student", lambda *_, **__: Elsewhere())
    begun = []
    train = fitting.train_student

    def note_and_train(module, *args, **kwargs):
        begun.append(module)
        return train(module, *args, **kwargs)

    monkeypatch.setattr(fitting, "train_student", note_and_train)
    run_distill(run, dataclasses.replace(CONFIG, rounds=2), device="cpu", teacher=PaintingTeacher())
    assert any(module is begun[1] for module in moved)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"student": "unett"}, "student is 'unett'; did you mean 'unet'"),
        ({"student": "dpt"}, "student is 'dpt'"),
        ({"encoder": "resnet181"}, "encoder is 'resnet181'; did you mean 'resnet18'"),
        ({"encoder": "tu-resnet188"}, "encoder is 'tu-resnet188'; did you mean 'tu-resnet18"),
        ({"encoder": "efficientnet_lite0"}, "did you mean 'tu-efficientnet_lite0'"),
        ({"encoder": "resnet18", "decoder_channels": [64, 32]}, "decoder_channels.* for 2 blocks"),
        (
            {"student": "nested_unet", "decoder_channels": [64, 32]},
            "decoder_channels does not go with 'nested_unet'",
        ),
        ({"encoder_weights": "ImageNet"}, "ImageNet does not exist"),
        (
            {"encoder": "resnet18", "image_size": 32, "batch_size": 8, "accumulate": 8},
            r"frames of distill\.image_size=32, 1 at a time \(batch_size / accumulate\)",
        ),
        ({"student": "pan", "encoder": "resnet18"}, r"frames of distill\.image_size=64, 4 at"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_network_that_cannot_be_trained_is_refused_before_the_teacher(
    prepared, tmp_path, changed, told
):
    run = RunDir(shutil.copytree(prepared.root, tmp_path / "run"))
    config = dataclasses.replace(CONFIG, **changed)
    with pytest.raises((ConfigError, WeightsError), match=told):
        run_distill(run, config, device="cpu", teacher=PaintingTeacher())
    assert not run.teacher.exists()
    assert not run.student.exists()
