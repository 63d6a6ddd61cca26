"""`meddistill eval` on a RUN and on plain folders: files, numbers, baselines, bad input."""

import dataclasses
import json
import shutil
import sys
import types

import cv2
import numpy as np
import pytest
from PIL import Image
from support.evaluation_data import (
    LESIONS,
    SIZE_HW,
    BrightnessStudent,
    add_detector,
    finish,
    make_run,
    picture_of,
    truth_of,
)

from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import ConfigError, InputError, StageError
from meddistill.base.files import read_json, write_json
from meddistill.base.hashing import sha256_file
from meddistill.data.formats.pictures import read_rgb, write_png
from meddistill.data.frames import Preprocessing
from meddistill.data.intensity import IntensitySettings
from meddistill.data.masks import read_mask
from meddistill.evaluation.box_scores import BoxScoreRow
from meddistill.evaluation.request import EvalRequest, FolderRequest, OtherMasks
from meddistill.evaluation.scores import ScoreRow
from meddistill.evaluation.text_tables import format_table
from meddistill.run.fingerprints import fingerprint_stage
from meddistill.run.layout import CASES_CSV
from meddistill.run.tables import Case, QualityRow, read_cases
from meddistill.settings.evaluate import EvalConfig
from meddistill.stages.compare import run_compare
from meddistill.stages.evaluate import UNKNOWN_GROUPS, run_eval, run_eval_folders
from meddistill.stages.predict import run_predict
from meddistill.student.prediction_job import PredictOptions
from meddistill.student.student import as_rgb
from meddistill.student.trust.reading import Seen


def evaluate(run, config=None, predictor=None, **request):
    return run_eval(
        run,
        config or EvalConfig(),
        EvalRequest(**request),
        seed=0,
        predictor=predictor or BrightnessStudent(),
    )


def scores_of(out):
    return {(row.method, row.case_id): row for row in read_table(out / "per_case.csv", ScoreRow)}


def files_in(directory):
    return {
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    }


def test_a_run_is_evaluated_and_leaves_these_files(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    out = evaluate(run)
    pictures = {
        f"{folder}/{case_id}.png" for folder in ("masks", "overlays") for case_id in LESIONS
    }
    assert files_in(out) == {"per_case.csv", "summary.json", "report.html", "run.json"} | pictures
    assert out == run.eval
    printed = capsys.readouterr()
    assert "student" in printed.out
    assert "1.000" in printed.out
    assert "not evaluated" in printed.err  # neither detector nor teacher in this RUN


def test_masks_have_the_images_size_and_the_predicted_pixels(tmp_path):
    out = evaluate(make_run(tmp_path / "run"))
    for case_id in LESIONS:
        assert (read_mask(out / "masks" / f"{case_id}.png") == truth_of(case_id)).all()
    assert read_rgb(out / "overlays" / "a1.png").shape == (SIZE_HW[0], 2 * SIZE_HW[1] + 4, 3)


def test_the_students_threshold_holds_unless_one_is_given(tmp_path):
    run = make_run(tmp_path / "run")
    strict = evaluate(run, predictor=BrightnessStudent(threshold=0.95), out=tmp_path / "strict")
    assert read_json(strict / "summary.json")["methods"]["student"]["n_missed"] == 3
    given = evaluate(
        run,
        EvalConfig(threshold=0.5),
        predictor=BrightnessStudent(threshold=0.95),
        out=tmp_path / "given",
    )
    assert read_json(given / "summary.json")["methods"]["student"]["n_missed"] == 0
    assert read_json(given / "summary.json")["threshold"] == 0.5


class ModestStudent(BrightnessStudent):
    """Its probabilities mean half of what they are."""

    trust = None

    def predict_probs(self, images, batch_size=16):
        return super().predict_probs([as_rgb(image) for image in images])

    def look(self, images, batch_size=16):
        return [Seen(probs) for probs in self.predict_probs(images)]

    def calibrated(self, probs):
        return probs / 2


@pytest.mark.parametrize(("threshold", "found"), [(0.4, True), (0.5, False)])
def test_a_given_threshold_cuts_what_predict_cuts(tmp_path, threshold, found):
    run = make_run(tmp_path / "run")
    out = evaluate(run, EvalConfig(threshold=threshold), predictor=ModestStudent())
    options = PredictOptions(threshold=threshold, skip_broken=True)  # one shows nothing
    images = [str(run.data / "images" / "test")]
    predicted = run_predict(
        tmp_path, images, tmp_path / "predicted", options, predictor=ModestStudent()
    )
    for case_id in (case_id for case_id, place in LESIONS.items() if place):
        judged = read_mask(out / "masks" / f"{case_id}.png")
        assert (judged == read_mask(predicted / "masks" / f"{case_id}.png")).all()
        assert (judged == (truth_of(case_id) & found)).all()


def test_what_was_made_from_other_data_is_told(tmp_path):
    run = make_run(tmp_path / "run")
    add_detector(run)
    record = read_json(run.detector / "run.json")
    told = {}
    for name, data in (("same", fingerprint_stage(run.data)), ("other", "other")):
        write_json(run.detector / "run.json", {**record, "inputs": {"data": data}})
        told[name] = read_json(evaluate(run, out=tmp_path / name) / "summary.json")["warnings"]
    (line,) = set(told["other"]) - set(told["same"])
    assert line.startswith("made from other data than RUN holds now: detector; cases that are new")


def test_an_image_in_the_place_of_another_is_not_judged(tmp_path):
    run = make_run(tmp_path / "run")
    cases = [
        dataclasses.replace(case, sha256=sha256_file(run.data / case.image))
        for case in read_cases(run.data)
    ]
    write_table(run.data / CASES_CSV, Case, cases)
    shutil.copyfile(run.data / "images/test/a1.png", run.data / "images/test/a2.png")
    told = r"1 of 4 cases could not be evaluated.*a2\.png is not the image that prepare wrote"
    with pytest.raises(InputError, match=told):
        evaluate(run)


def test_filled_boxes_are_a_baseline_and_a_case_without_a_box_is_missed(tmp_path):
    run = make_run(tmp_path / "run", spacing_mm="0.5,0.5")
    add_detector(run)
    out = evaluate(run)
    rows = scores_of(out)
    assert rows["boxes", "a1"].dice == 1
    assert rows["boxes", "a2"].dice == pytest.approx(2 * 64 / (64 + 80))
    assert rows["boxes", "a2"].hd_px == 2
    assert rows["boxes", "a2"].hd_mm == 1
    assert rows["boxes", "b1"].missed
    assert rows["boxes", "b1"].dice == 0
    assert rows["boxes", "b1"].hd95_mm == pytest.approx(0.5 * np.hypot(*SIZE_HW))
    assert rows["boxes", "b2"].dice == 1  # healthy, and no box
    summary = read_json(out / "summary.json")["methods"]["boxes"]
    assert (summary["n"], summary["n_missed"], summary["n_false"]) == (4, 1, 0)
    assert summary["metrics"]["dice"]["mean"] == pytest.approx((1 + 2 * 64 / 144 + 0 + 1) / 4)
    assert summary["detected_only"]["n"] == 2
    assert summary["detected_only"]["metrics"]["hd_px"]["mean"] == 1
    assert set(summary["by_class"]) == {"glioma", "none"}
    assert sum(part["n"] for part in summary["by_size"].values()) == 3


@pytest.mark.parametrize("healthy", [True, False])
def test_where_somebody_saw_nothing_an_alarm_is_false_without_a_mask(tmp_path, healthy):
    """As of a folder of healthy images, beside images with masks."""
    run = make_run(tmp_path / "run")
    by_mask = scores_of(evaluate(run, out=tmp_path / "by_mask"))
    table = run.data / "cases.csv"
    cases = [
        dataclasses.replace(case, has_mask=False, annotation="none" if healthy else "unknown")
        if case.case_id == "b2"
        else case
        for case in read_table(table, Case)
    ]
    write_table(table, Case, cases)
    (run.data / "masks/test/b2.png").unlink()
    out = evaluate(run, out=tmp_path / "without")
    rows = scores_of(out)
    assert (("student", "b2") in rows) == healthy
    if healthy:
        assert rows == by_mask
        assert not (out / "per_case_boxes.csv").exists()


def test_boxes_given_replace_the_detectors(tmp_path):
    run = make_run(tmp_path / "run")
    add_detector(run)
    shutil.move(run.detector / "boxes.csv", tmp_path / "mine.csv")
    shutil.rmtree(run.detector)
    out = evaluate(run, boxes=tmp_path / "mine.csv")
    assert scores_of(out)["boxes", "a1"].dice == 1


@pytest.fixture
def fake_targets(monkeypatch):
    """`load_target` without a teacher: sure of the left half of each lesion; frames are square,
    padded below."""
    module = types.ModuleType("meddistill.targets.cache")

    def load_target(out_dir, case_id, key):
        assert key == f"key-{case_id}"
        side = max(SIZE_HW)
        probs = np.zeros((side, side), dtype=np.float32)
        probs[: SIZE_HW[0], : SIZE_HW[1]] = np.where(truth_of(case_id), 0.9, 0.1)
        probs[SIZE_HW[0] :] = 1  # padding must not count
        return types.SimpleNamespace(probs=probs)

    module.load_target = load_target
    monkeypatch.setitem(sys.modules, "meddistill.targets.cache", module)


def add_teacher(run, split="test", prompt_source="detected"):
    rows = [
        QualityRow(
            case_id=name,
            split=split,
            prompt_source=prompt_source,
            n_boxes=int(name[0] == "a"),
            key=f"key-{name}",
            v=0.0,
            doubt=0.0,
            agreement=1.0,
            stability=1.0,
            predicted_iou=1.0,
            box_iou=1.0,
            area_share=0.1,
            accepted=True,
            reason="",
            weight=1.0,
        )
        for name in LESIONS
        if name != "b2"
    ]
    write_table(run.teacher / "quality.csv", QualityRow, rows)
    finish(run.teacher, "distill")


@pytest.mark.usefixtures("fake_targets")
def test_the_teacher_prompted_by_the_detector_is_a_baseline(tmp_path):
    run = make_run(tmp_path / "run")
    add_teacher(run)
    rows = scores_of(evaluate(run))
    assert rows["teacher", "a1"].dice == rows["teacher", "a2"].dice == 1
    assert rows["teacher", "b1"].missed  # a target without a box
    assert rows["teacher", "b2"].dice == 1  # no target at all, and healthy


@pytest.mark.parametrize(("split", "source"), [("train", "detected"), ("test", "annotated")])
def test_targets_of_another_split_or_annotated_boxes_are_no_baseline(
    tmp_path, capsys, split, source
):
    run = make_run(tmp_path / "run")
    add_teacher(run, split, source)
    out = evaluate(run)
    assert {method for method, _ in scores_of(out)} == {"student"}
    assert "no target of 'test' that detected boxes prompted" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.parametrize("unboxed", ["propose", "carry", "detected"])
def test_no_detector_is_missed_where_none_was_wanted(tmp_path, capsys, unboxed):
    run = make_run(tmp_path / "run")
    add_teacher(run, prompt_source="annotated")
    record = read_json(run.student / "run.json")
    record["settings"] = {"colearning": {"unboxed": unboxed}, "teacher": None}
    write_json(run.student / "run.json", record)
    out = evaluate(run)
    told = " ".join(capsys.readouterr().err.split())
    missed = unboxed == "detected"
    assert ("detector's boxes, filled: not evaluated" in told) is missed
    assert ("teacher, prompted by detector: not evaluated" in told) is missed
    assert bool(read_json(out / "summary.json")["skipped"]) is missed


def test_flip_averaging_takes_the_mean_of_image_and_mirror_image(tmp_path):
    class Leftist(BrightnessStudent):
        """Sees a lesion in the left half of whatever it is shown."""

        def predict_probs(self, images):
            half = np.zeros(SIZE_HW, dtype=np.float32)
            half[:, : SIZE_HW[1] // 2] = 0.8
            return [half for _ in images]

    run = make_run(tmp_path / "run")
    plain = evaluate(run, predictor=Leftist(0.4), out=tmp_path / "plain")
    assert read_mask(plain / "masks" / "a1.png").mean() == 0.5
    mean = evaluate(
        run, EvalConfig(flip_average=True), predictor=Leftist(0.4), out=tmp_path / "mean"
    )
    assert read_mask(mean / "masks" / "a1.png").all()
    assert read_json(mean / "summary.json")["postprocessing"]["flip_average"] is True


@pytest.mark.parametrize("wish", [{"min_component_px": 40}, {"keep_largest": True}])
def test_cleaning_up_is_done_to_the_student_alone_and_reported(tmp_path, wish):
    run = make_run(tmp_path / "run")
    dirty = picture_of(truth_of("a1"))
    dirty[35:37, 40:42] = 220
    write_png(run.data / "images/test/a1.png", dirty)
    plain = evaluate(run, out=tmp_path / "plain")
    assert scores_of(plain)["student", "a1"].lesions_false == 1
    clean = evaluate(run, EvalConfig(**wish), out=tmp_path / "clean")
    assert scores_of(clean)["student", "a1"].dice == 1
    changed = 1 if "keep_largest" in wish else 2  # b1's only lesion has 36 px
    assert read_json(clean / "summary.json")["postprocessing"]["n_changed"] == changed
    assert f"Cleaning up changed {changed} mask" in (clean / "report.html").read_text()


def test_probabilities_are_judged_and_boxes_have_none(tmp_path):
    run = make_run(tmp_path / "run")
    add_detector(run)
    out = evaluate(run)
    rows = scores_of(out)
    assert rows["student", "b2"].brier == pytest.approx((30 / 255) ** 2)
    assert rows["student", "b2"].ece == pytest.approx(30 / 255)
    assert rows["boxes", "b2"].brier is None
    calibration = read_json(out / "summary.json")["calibration"]
    assert calibration["all"]["n_pixels"] == 4 * SIZE_HW[0] * SIZE_HW[1]


def test_an_output_that_cannot_be_written_is_one_line(tmp_path):
    run = make_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match="cannot be written"):
        evaluate(run, out=tmp_path / "file" / "eval")


def test_baselines_can_be_left_out(tmp_path):
    run = make_run(tmp_path / "run")
    add_detector(run)
    assert {method for method, _ in scores_of(evaluate(run, EvalConfig(baselines=False)))} == {
        "student"
    }


def test_boxes_alone_give_figures_by_boxes(tmp_path, capsys):
    run = make_run(tmp_path / "run", with_masks=False)
    bright = picture_of(truth_of("b2"))
    bright[4:9, 4:9] = 220  # something that nobody boxed
    write_png(run.data / "images/test/b2.png", bright)
    out = evaluate(run)
    rows = {row.case_id: row for row in read_table(out / "per_case_boxes.csv", BoxScoreRow)}
    assert set(rows) == set(LESIONS)
    assert rows["a1"].box_iou == pytest.approx(1, abs=0.05)
    assert (rows["b2"].n_boxes, rows["b2"].box_iou, rows["b2"].false_boxes) == (0, None, 1)
    figures = read_json(out / "summary.json")["by_boxes"]["student"]
    assert (figures["n"], figures["n_boxes"], figures["n_empty"]) == (4, 3, 1)
    assert figures["found_50"]["mean"] == figures["found_10"]["mean"] == 1
    assert figures["false_per_image"]["mean"] == 0.25
    assert figures["agreement"] is None
    page = (out / "report.html").read_text()
    assert "of the boxes</h1>" in page
    assert "nothing to evaluate against" not in page
    printed = capsys.readouterr()
    assert "found at IoU .5" in printed.out
    assert "found 100% at .5" in " ".join(printed.err.split())
    assert f"next: meddistill label {run.root} --audit 30" in printed.err


def test_cases_with_masks_are_not_judged_by_boxes(tmp_path):
    out = evaluate(make_run(tmp_path / "run"))
    assert not (out / "per_case_boxes.csv").exists()
    assert read_json(out / "summary.json")["by_boxes"] == {}
    assert "by_boxes" not in read_json(out / "run.json")["results"]


def test_without_masks_and_boxes_there_are_only_pictures(tmp_path, capsys):
    run = make_run(tmp_path / "run", with_masks=False, with_boxes=False)
    out = evaluate(run)
    told = capsys.readouterr().err
    assert "nothing to evaluate against" in told
    assert f"next: meddistill label {run.root} --audit 30" in told
    assert "nothing to evaluate against" in (out / "report.html").read_text()
    assert read_json(out / "summary.json")["methods"] == {}
    assert len(list((out / "overlays").glob("*.png"))) == len(LESIONS)
    assert (out / "run.json").exists()


def test_batches_and_devices_do_not_change_the_result_and_a_second_run_is_a_no_op(tmp_path):
    run = make_run(tmp_path / "run")
    student = BrightnessStudent()
    first = evaluate(run, EvalConfig(batch_size=3), predictor=student)
    assert student.batches == [3, 1, 3, 1]  # once for the masks, once for the gallery
    content = (first / "per_case.csv").read_bytes()
    evaluate(run, EvalConfig(batch_size=1), predictor=student)
    assert student.batches == [3, 1, 3, 1]
    again = evaluate(run, EvalConfig(batch_size=1), out=tmp_path / "again")
    assert (again / "per_case.csv").read_bytes() == content
    with pytest.raises(StageError, match=r"settings\.threshold was null, now 0\.3"):
        evaluate(run, EvalConfig(threshold=0.3))


def test_a_run_that_lacks_a_stage_names_the_command(tmp_path):
    run = make_run(tmp_path / "run")
    shutil.rmtree(run.student)
    with pytest.raises(StageError, match="run `meddistill distill` first"):
        evaluate(run)
    shutil.rmtree(run.data)
    with pytest.raises(StageError, match="run `meddistill prepare` first"):
        evaluate(run)
    assert not run.eval.exists()


def test_a_split_without_cases_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no case in the split 'val'"):
        evaluate(make_run(tmp_path / "run"), EvalConfig(split="val"))


def test_a_directory_that_is_no_student_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"other is not a student: it has no config\.json"):
        evaluate(run, student=tmp_path / "other")


def test_unreadable_cases_are_named_and_the_others_done(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    (run.data / "images/test/a1.png").write_bytes(b"not a picture")
    write_png(run.data / "masks/test/b1.png", np.zeros((7, 9), dtype=np.uint8))
    with pytest.raises(InputError, match="2 of 4 cases could not be evaluated"):
        evaluate(run)
    said = " ".join(capsys.readouterr().err.split())
    assert "a1.png cannot be read as an image" in said
    assert "b1.png is 9x7 px, its image 48x40: mask and image differ" in said
    assert {case_id for _, case_id in scores_of(run.eval)} == {"a2", "b2"}
    assert len(read_json(run.eval / "summary.json")["failures"]) == 2
    assert not (run.eval / "run.json").exists()


@pytest.fixture
def folders(tmp_path):
    """images/ and masks/ as on any disk: a suffix at the masks, a strange name, and one of each
    without partner."""
    images, masks, student = tmp_path / "images", tmp_path / "masks", tmp_path / "student"
    for name, case_id in (("one", "a1"), ("<b>two</b>", "a2"), ("alone", "b1")):
        write_png(
            images / "glioma" / f"{name.replace('/', '-')}.png", picture_of(truth_of(case_id))
        )
    for name, case_id in (("one", "a1"), ("<b>two<-b>", "a2"), ("stranger", "b1")):
        write_png(masks / f"{name}_mask.png", truth_of(case_id).astype(np.uint8) * 255)
    student.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessing.json"):
        (student / name).write_text("{}")
    return images, masks, student


def test_plain_folders_are_paired_by_stem_and_the_unpaired_named(folders, tmp_path, capsys):
    images, masks, student = folders
    out = run_eval_folders(
        FolderRequest(images, masks, student, tmp_path / "out"),
        EvalConfig(),
        seed=0,
        predictor=BrightnessStudent(),
    )
    said = " ".join(capsys.readouterr().err.split())
    assert "2 file(s) have no partner and are left out: alone.png, stranger_mask.png" in said
    rows = scores_of(out)
    assert set(rows) == {("student", "one"), ("student", "_b_two_-b_")}
    assert all(row.dice == 1 and row.class_name == "glioma" for row in rows.values())
    page = (out / "report.html").read_text()
    assert r"\u003cb\u003etwo\u003c-b\u003e.png" in page
    assert "<b>two" not in page


def test_folders_may_hold_pictures_of_any_kind_that_predict_reads(folders, tmp_path):
    images, masks, student = folders
    mask = masks / "one_mask.png"
    Image.open(mask).save(mask.with_suffix(".gif"))
    mask.unlink()
    out = run_eval_folders(
        FolderRequest(images, masks, student, tmp_path / "out"),
        EvalConfig(),
        seed=0,
        predictor=BrightnessStudent(),
    )
    assert scores_of(out)["student", "one"].dice == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no folder", "nowhere is not a folder"),
        ("empty", "holds no image"),
        ("no pair", "has the stem of an image"),
        ("twice", "share a stem"),
        ("no student", "is not a student"),
    ],
)
def test_folders_that_cannot_be_paired_are_refused(folders, tmp_path, change, message):
    images, masks, student = folders
    if change == "no folder":
        masks = tmp_path / "nowhere"
    elif change == "empty":
        masks = tmp_path / "empty"
        masks.mkdir()
    elif change == "no pair":
        for path in masks.iterdir():
            path.rename(path.with_name("x" + path.name))
    elif change == "twice":
        write_png(images / "meningioma" / "one.png", picture_of(truth_of("a1")))
    else:
        student = tmp_path / "images"
    with pytest.raises(InputError, match=message):
        run_eval_folders(
            FolderRequest(images, masks, student, tmp_path / "out"),
            EvalConfig(),
            seed=0,
            predictor=BrightnessStudent(),
        )
    assert not (tmp_path / "out").exists()


def test_the_terminal_table_is_aligned(tmp_path):
    run = make_run(tmp_path / "run")
    add_detector(run)
    summary = json.loads((evaluate(run) / "summary.json").read_text())
    *lines, told = format_table(summary["methods"], summary["labels"]).splitlines()
    assert told == "boxes = detector's boxes, filled"
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert len({len(line) for line in lines}) == 1
    assert "1/3" in lines[2]


def test_unknown_groups_are_told_everywhere(tmp_path, capsys):
    out = evaluate(make_run(tmp_path))
    assert json.loads((out / "summary.json").read_text())["warnings"] == [UNKNOWN_GROUPS]
    assert "groups are unknown" in capsys.readouterr().err
    assert "groups are unknown" in (out / "report.html").read_text()


def test_known_groups_need_no_warning(tmp_path, capsys):
    run = make_run(tmp_path)
    record = json.loads((run.data / "run.json").read_text())
    (run.data / "run.json").write_text(json.dumps(record | {"results": {"groups_known": True}}))
    out = evaluate(run)
    assert json.loads((out / "summary.json").read_text())["warnings"] == []
    assert "groups are unknown" not in (out / "report.html").read_text() + capsys.readouterr().err


def test_slices_of_volumes_get_a_row_a_volume(tmp_path):
    run = make_run(tmp_path)
    cases = [
        dataclasses.replace(case, source=f"{case.group}.nii.gz#axial{case.case_id[1]}")
        for case in read_cases(run.data)
    ]
    write_table(run.data / CASES_CSV, Case, cases)
    out = evaluate(run)
    volumes = json.loads((out / "summary.json").read_text())["volumes"]
    assert [(row["volume"], row["n_slices"]) for row in volumes] == [
        ("a.nii.gz", 2),
        ("b.nii.gz", 2),
    ]
    page = (out / "report.html").read_text()
    assert "By volume" in page
    assert "a.nii.gz" in page.split("By volume")[1]


def test_foreign_pictures_are_windowed_as_the_students_were(tmp_path):
    pixels = np.full((20, 30), 300, np.uint16)
    pixels[4:12, 4:12] = 700
    pixels[0, 0] = 60_000  # a hot pixel: percentiles would leave the square dark
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), pixels)
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), ((pixels == 700) * 255).astype(np.uint8))
    student = BrightnessStudent()
    student.preprocessing = Preprocessing(intensity=IntensitySettings(window=(200, 800)))
    out = tmp_path / "out"
    (tmp_path / "student").mkdir()
    for name in ("config.json", "model.safetensors", "preprocessing.json"):
        (tmp_path / "student" / name).write_text("{}")
    run_eval_folders(
        FolderRequest(tmp_path / "images", tmp_path / "masks", tmp_path / "student", out),
        EvalConfig(),
        seed=0,
        predictor=student,
    )
    assert scores_of(out)["student", "a"].sensitivity == 1


NONSENSE = [
    ("image", "images/a\0.png"),
    ("spacing_mm", "0.5"),
    ("spacing_mm", "0,1"),
    ("spacing_mm", "a,b"),
]


@pytest.mark.parametrize(("column", "value"), NONSENSE)
def test_rows_of_cases_that_make_no_sense_are_refused(tmp_path, column, value):
    case = read_cases(make_run(tmp_path).data)[0]
    with pytest.raises(ValueError, match=r"NUL|expected row,column in mm"):
        dataclasses.replace(case, **{column: value})


def other_masks(tmp_path, cases=("a1", "a2", "b1", "b2"), size_hw=SIZE_HW, value=255):
    """A tool that finds what is there, but nothing on a2."""
    folder = tmp_path / "tool"
    folder.mkdir(exist_ok=True)
    for case_id in cases:
        mask = (
            np.zeros(SIZE_HW, np.uint8) if case_id == "a2" else truth_of(case_id).astype(np.uint8)
        )
        mask = cv2.resize(mask, size_hw[::-1], interpolation=cv2.INTER_NEAREST) * np.uint8(value)
        write_png(folder / f"{case_id}.png", mask)
    return folder


@pytest.mark.parametrize("value", [1, 255])
def test_another_tools_masks_are_judged_in_the_same_tables(tmp_path, capsys, value):
    run = make_run(tmp_path / "run")
    out = evaluate(run, other=OtherMasks(other_masks(tmp_path, value=value), "nnU-Net"))
    scores = scores_of(out)
    assert scores["other", "a1"].dice == 1
    assert scores["other", "a2"].dice == 0
    summary = read_json(out / "summary.json")
    assert summary["labels"]["other"] == "nnU-Net"
    assert summary["methods"]["other"]["metrics"]["dice"]["n"] == len(LESIONS)
    page = (out / "report.html").read_text()
    assert ">nnU-Net</th>" in page
    assert "nnU-Net" in capsys.readouterr().out
    compared = run_compare(f"{out}:student", f"{out}:other", seed=0)
    assert compared["metrics"]["dice"]["mean"] == pytest.approx(1 / len(LESIONS))


def test_masks_that_the_tool_lacks_are_empty_and_named(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    other = OtherMasks(other_masks(tmp_path, cases=["a2", "b1"]))
    scores = scores_of(evaluate(run, other=other))
    assert scores["other", "a1"].dice == 0
    assert scores["other", "b1"].dice == 1
    printed = " ".join(capsys.readouterr().err.split())
    assert "tool: 2 of 4 cases have no mask in" in printed
    assert "count as empty; first: a1, b2" in printed


def test_a_mask_belongs_to_one_case(tmp_path):
    run = make_run(tmp_path / "run")
    cases = read_table(run.data / CASES_CSV, Case)
    sources = {"a1": "x/b1.png", "a2": "x/s.png", "b1": "y/s.png"}
    moved = [
        dataclasses.replace(case, source=sources.get(case.case_id, case.source)) for case in cases
    ]
    write_table(run.data / CASES_CSV, Case, moved)
    folder = other_masks(tmp_path, cases=["b1", "b2"])
    out = evaluate(run, other=OtherMasks(folder))
    assert scores_of(out)["other", "b1"].dice == 1
    assert scores_of(out)["other", "a1"].pred_px == 0  # b1.png is another case's
    (folder / "b1.png").rename(folder / "s.png")
    with pytest.raises(InputError, match=r"s\.png fits 2 cases .*: a2, b1; name each mask by"):
        evaluate(run, other=OtherMasks(folder), out=tmp_path / "again")


def test_side_files_of_a_tool_are_no_masks(tmp_path):
    run = make_run(tmp_path / "run")
    folder = other_masks(tmp_path)
    for ending in ("npz", "pkl", "json"):
        (folder / f"a1.{ending}").write_bytes(b"beside")
    assert scores_of(evaluate(run, other=OtherMasks(folder)))["other", "a1"].dice == 1


@pytest.mark.parametrize("name", ["a1.nrrd", "a1.nii.gz", "Segmentation.seg.nrrd", "a.mha"])
def test_volumes_as_masks_are_sent_to_prepare(tmp_path, name):
    run = make_run(tmp_path / "run")
    folder, images = tmp_path / "tool", tmp_path / "images"
    folder.mkdir()
    (folder / name).write_bytes(b"NRRD0004\nSegment0_Name:=tumour\n\n")
    cut = rf"{name} is a volume, expected .*prepare NEW --source DIR.*3D Slicer by their names"
    with pytest.raises(InputError, match=cut):
        evaluate(run, other=OtherMasks(folder))
    write_png(images / "a1.png", np.zeros(SIZE_HW, np.uint8))
    request = FolderRequest(images, folder, run.student, tmp_path / "out")
    with pytest.raises(InputError, match=rf"{cut}.*eval NEW --student STUDENT"):
        run_eval_folders(request, EvalConfig(), seed=0, predictor=BrightnessStudent())
    write_png(folder / "a1.png", truth_of("a1").astype(np.uint8) * 255)  # a picture beside it
    assert scores_of(evaluate(run, other=OtherMasks(folder)))["other", "a1"].dice == 1


def test_a_folder_of_many_empty_masks_is_doubted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("meddistill.evaluation.other_masks._MANY", 4)
    run = make_run(tmp_path / "run")
    folder = other_masks(tmp_path)
    evaluate(run, other=OtherMasks(folder))
    assert "are empty" not in capsys.readouterr().err
    for path in folder.glob("*.png"):
        write_png(path, np.zeros(SIZE_HW, np.uint8))
    evaluate(run, other=OtherMasks(folder), overwrite=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "tool: all 4 masks are empty; masks of 0 and 1" in told


def test_masks_of_another_size_are_resampled_only_where_that_is_said(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    folder = other_masks(tmp_path, size_hw=(2 * SIZE_HW[0], 2 * SIZE_HW[1]))
    with pytest.raises(InputError, match="--resample-masks brings all masks"):
        evaluate(run, other=OtherMasks(folder))
    assert not run.eval.exists()
    scores = scores_of(evaluate(run, other=OtherMasks(folder, resample=True)))
    assert scores["other", "a1"].dice > 0.95
    assert "4 masks are brought to the size" in " ".join(capsys.readouterr().err.split())


def test_masks_that_are_none_are_one_clear_line(tmp_path):
    run = make_run(tmp_path / "run")
    folder = other_masks(tmp_path)
    for name, reason in (("student", "name the other tool"), ("boxes", "name the other tool")):
        with pytest.raises(ConfigError, match=reason):
            evaluate(run, other=OtherMasks(folder, name))
    labels = np.zeros(SIZE_HW, np.uint8)
    labels[2:6, 2:6], labels[8:12, 8:12] = 1, 2
    write_png(folder / "a1.png", labels)
    with pytest.raises(InputError, match=r"a1\.png is no mask of one finding.*holds") as told:
        evaluate(run, other=OtherMasks(folder))
    assert "--label" not in str(told.value)  # an option of `prepare`
    (folder / "a1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a1\.png"):
        evaluate(run, other=OtherMasks(folder))
    write_png(folder / "a1.png", labels * 0)
    write_png(folder / "a1.tif.png", labels * 0)
    shutil.copy(folder / "a1.png", folder / "a1.bmp")
    with pytest.raises(InputError, match="2 masks of case a1"):
        evaluate(run, other=OtherMasks(folder))
    with pytest.raises(InputError, match="is not a folder"):
        evaluate(run, other=OtherMasks(tmp_path / "nowhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no file in .* is named like a case"):
        evaluate(run, other=OtherMasks(empty))
    shutil.copytree(folder, empty / "fold_0")
    with pytest.raises(InputError, match="it holds the folder fold_0"):
        evaluate(run, other=OtherMasks(empty))
    assert not run.eval.exists()


@pytest.mark.parametrize("inside", [".", "masks"])
def test_other_masks_in_the_folder_that_is_written_stay_there(tmp_path, inside):
    run = make_run(tmp_path / "run")
    evaluate(run)
    folder = run.eval / inside
    shutil.copytree(other_masks(tmp_path), folder, dirs_exist_ok=True)
    before = files_in(run.eval)
    with pytest.raises(ConfigError, match=r"lie in .*eval, where .*; move them elsewhere"):
        evaluate(run, other=OtherMasks(folder), overwrite=True)
    assert files_in(run.eval) == before


def test_another_name_for_the_same_masks_is_no_finished_evaluation(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    folder = other_masks(tmp_path)
    out = evaluate(run, other=OtherMasks(folder, "first"))
    assert "first is 'other' in per_case.csv" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(StageError, match='name of other was "first", now "second"'):
        evaluate(run, other=OtherMasks(folder, "second"))
    record = read_json(out / "run.json")
    del record["inputs"]["name of other"]  # as an earlier version left it
    write_json(out / "run.json", record)
    capsys.readouterr()
    evaluate(run, other=OtherMasks(folder, "first"))
    assert "is up to date" in capsys.readouterr().err
    with pytest.raises(StageError, match="name of other was null"):
        evaluate(run, other=OtherMasks(folder, "second"))


def test_other_masks_that_changed_are_judged_again(tmp_path):
    run = make_run(tmp_path / "run")
    folder = other_masks(tmp_path)
    evaluate(run, other=OtherMasks(folder))
    write_png(folder / "a1.png", np.zeros(SIZE_HW, np.uint8))
    with pytest.raises(StageError, match="--overwrite"):
        evaluate(run, other=OtherMasks(folder))
    scores = scores_of(evaluate(run, other=OtherMasks(folder), overwrite=True))
    assert scores["other", "a1"].dice == 0
