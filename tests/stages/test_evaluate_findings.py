"""`meddistill eval` with several findings: each is judged by its own cases, their mean is the mean of
these, and what nobody looked for is not judged."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from support.evaluation_data import SIZE_HW, BrightnessStudent, finish, make_run
from support.findings_run import (
    PLACES,
    THREE,
    ColourStudent,
    add_findings_detector,
    make_findings_run,
    planes_of,
)
from support.painting_teacher import PaintingTeacher

from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json, write_json
from meddistill.colearning.cell_head import CellHead
from meddistill.colearning.head_files import Heads
from meddistill.colearning.prompted import PromptedTeacher
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import load_labels, write_png
from meddistill.evaluation.baselines import Guess
from meddistill.evaluation.box_scores import BoxScoreRow
from meddistill.evaluation.request import EvalRequest, FolderRequest, OtherMasks
from meddistill.evaluation.scores import ScoreRow
from meddistill.run.dataset import Dataset
from meddistill.run.findings import write_data_yaml
from meddistill.run.layout import (
    CASES_CSV,
    PER_CASE_BOXES_CSV,
    PER_CASE_CSV,
    QUALITY_CSV,
    RUN_JSON,
    SUMMARY_JSON,
)
from meddistill.run.tables import Case, QualityRow, read_cases
from meddistill.settings.evaluate import EvalConfig
from meddistill.stages.compare import run_aggregate, run_compare
from meddistill.stages.evaluate import run_eval, run_eval_folders
from meddistill.targets.asking import Answer
from meddistill.targets.cache import write_target
from meddistill.targets.scores import Scores


def evaluate(run, config=None, predictor=None, **request):
    return run_eval(
        run,
        config or EvalConfig(),
        EvalRequest(**request),
        seed=0,
        predictor=predictor or ColourStudent(),
    )


def rows_of(out, row_type=ScoreRow, name=PER_CASE_CSV):
    return {(row.method, row.case_id, row.finding): row for row in read_table(out / name, row_type)}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    run = make_findings_run(tmp_path_factory.mktemp("three") / "run")
    add_findings_detector(run)
    return evaluate(run)


def test_a_finding_is_judged_where_somebody_looked_for_it(evaluated):
    rows = rows_of(evaluated)
    told = {(case_id, finding) for method, case_id, finding in rows if method == "student"}
    looked = {
        (case_id, name)
        for case_id, (_, _, looked_for) in PLACES.items()
        for name in (looked_for.split(";") if looked_for else THREE.names)
    }
    assert told == looked
    assert rows["student", "a2", "red"].missed
    assert rows["student", "a2", "blue"].false_alarm
    assert rows["student", "b2", "red"].dice == 1


@pytest.mark.parametrize(("least_px", "judged"), [(101, True), (100, False)])
def test_specks_too_small_for_a_box_are_true_all_the_same(tmp_path, least_px, judged):
    run = make_findings_run(tmp_path / "run")  # its red squares have 100 px
    record = read_json(run.data / RUN_JSON)
    record["settings"] = {**record.get("settings", {}), "min_area_px": least_px}
    write_json(run.data / RUN_JSON, record)
    cases = read_cases(run.data)
    first = next(case for case in cases if case.case_id == "b2")
    others = ";".join(name for name in THREE.names if name != "red")
    kept = [case for case in cases if case is not first]
    unboxed = dataclasses.replace(first, findings=others, annotation="none", n_boxes=0)
    write_table(run.data / CASES_CSV, Case, [*kept, unboxed])
    assert (("student", "b2", "red") in rows_of(evaluate(run))) is judged


def test_a_findings_dice_is_over_the_cases_that_have_it_and_their_mean_is_of_these(evaluated):
    student = read_json(evaluated / SUMMARY_JSON)["methods"]["student"]
    own = student["by_finding"]
    dice = {name: scores["metrics"]["dice"] for name, scores in own.items()}
    assert [dice[name]["mean"] for name in THREE.names] == pytest.approx([2 / 3, 1, 0])
    assert [dice[name]["n"] for name in THREE.names] == [3, 2, 1]
    counts = [
        (own[name]["n_missed"], own[name]["n_with_lesion"], own[name]["n_false"], own[name]["n"])
        for name in THREE.names
    ]
    assert counts == [(1, 3, 0, 6), (0, 2, 0, 5), (1, 1, 2, 5)]
    assert student["metrics"]["dice"]["mean"] == pytest.approx(5 / 9)
    assert (student["n_missed"], student["n_false"]) == (2, 2)
    low, high = student["metrics"]["dice"]["ci95"]
    assert low < 5 / 9 < high < 0.67  # who lacks a finding leaves its own mean in its place
    assert own["blue"]["metrics"]["dice"]["ci95"] is None  # one patient has it


def test_boxes_are_filled_by_finding(evaluated):
    rows = rows_of(evaluated)
    assert rows["boxes", "a1", "red"].dice == rows["boxes", "a1", "green"].dice == 1
    assert rows["boxes", "a2", "green"].false_alarm
    assert rows["boxes", "a2", "red"].missed


def test_masks_are_label_maps_that_predict_would_write(evaluated):
    labels = load_labels(evaluated / "masks" / "a1.png")[0]
    assert (THREE.decode(labels) == planes_of(PLACES["a1"][0])).all()


def test_the_terminal_and_run_json_tell_them_by_finding(tmp_path, capsys):
    out = evaluate(make_findings_run(tmp_path / "run"))
    printed = capsys.readouterr()
    for name, mean in zip(THREE.names, ("0.667", "1.000", "0.000"), strict=True):
        assert any(
            line.startswith(f"  {name} ") and mean in line for line in printed.out.splitlines()
        )
    assert "red 0.667, green 1.000, blue 0.000" in " ".join(printed.err.split())
    results = read_json(out / "run.json")["results"]
    assert results["cases"] == len(PLACES)
    assert results["dice"]["student"]["mean"] == pytest.approx(5 / 9)


def test_some_alone_are_judged_where_that_is_asked(tmp_path):
    run = make_findings_run(tmp_path / "run")
    out = evaluate(run, EvalConfig(findings=["green"]))
    assert {finding for *_, finding in rows_of(out)} == {"green"}
    student = read_json(out / SUMMARY_JSON)["methods"]["student"]
    assert student["metrics"]["dice"]["mean"] == 1
    with pytest.raises(ConfigError, match=r"eval\.findings names 'grey', which is none of red"):
        evaluate(run, EvalConfig(findings=["grey"]), out=tmp_path / "other")


def test_a_student_is_judged_on_what_it_knows(tmp_path, capsys):
    run = make_findings_run(tmp_path / "run")
    add_findings_detector(run)
    out = evaluate(run, predictor=ColourStudent(Findings(("blue", "red"))))
    rows = rows_of(out)
    assert {(method, finding) for method, _, finding in rows} == {
        (method, name) for method in ("student", "boxes") for name in ("red", "blue")
    }
    assert rows["student", "a1", "red"].dice == 1
    assert rows["student", "b1", "blue"].missed
    assert "the student does not know green" in " ".join(capsys.readouterr().err.split())


def test_a_student_of_something_else_is_refused(tmp_path):
    run = make_findings_run(tmp_path / "run")
    with pytest.raises(InputError, match="the student finds lesion, and what is to be judged is"):
        evaluate(run, predictor=BrightnessStudent())
    blind = ColourStudent(Findings(("red", "blue")))
    with pytest.raises(InputError, match="to be judged is green"):
        evaluate(run, EvalConfig(findings=["green"]), blind, out=tmp_path / "other")
    assert not (run.eval / "run.json").exists()


def test_what_no_case_has_leaves_the_mean_to_the_others(tmp_path):
    run = make_findings_run(tmp_path / "run")
    for case_id in ("a1", "b1"):
        places = {name: at for name, at in PLACES[case_id][0].items() if name != "green"}
        write_png(run.data / "masks/test" / f"{case_id}.png", THREE.encode(planes_of(places)))
    out = evaluate(run)
    student = read_json(out / SUMMARY_JSON)["methods"]["student"]
    assert "dice" not in student["by_finding"]["green"]["metrics"]
    assert student["metrics"]["dice"]["mean"] == pytest.approx((2 / 3 + 0) / 2)
    assert student["by_finding"]["green"]["n_false"] == 2
    alone = evaluate(run, EvalConfig(findings=["green"]), out=tmp_path / "alone")
    assert "No case has what is looked for" in (alone / "report.html").read_text()


def test_findings_that_overlap_are_judged_each(tmp_path):
    both = Findings(THREE.names, exclusive=False)
    run = make_findings_run(tmp_path / "run", findings=both)
    planes = planes_of(PLACES["a1"][0])
    planes[2] = planes[0]
    write_png(run.data / "masks/test/a1.png", both.encode(planes))
    image = np.where(planes, 220, 30).astype(np.uint8).transpose(1, 2, 0)
    write_png(run.data / "images/test/a1.png", np.ascontiguousarray(image))
    out = evaluate(run, predictor=ColourStudent(both))
    rows = rows_of(out)
    assert [rows["student", "a1", name].dice for name in THREE.names] == [1, 1, 1]
    assert (both.decode(load_labels(out / "masks" / "a1.png")[0]) == planes).all()


def test_a_mirror_is_not_asked_where_a_name_says_a_side(tmp_path, capsys):
    sided = Findings(("left lung", "right lung", "blue"))
    run = make_findings_run(tmp_path / "run", findings=sided)
    student = ColourStudent()
    student.preprocessing = dataclasses.replace(student.preprocessing, findings=sided)
    student.predict_probs = lambda images: [np.zeros((3, *SIZE_HW), np.float32) for _ in images]
    out = evaluate(run, EvalConfig(flip_average=True), predictor=student)
    assert read_json(out / SUMMARY_JSON)["postprocessing"]["flip_average"] is False
    assert "flip_average is off" in " ".join(capsys.readouterr().err.split())


def test_the_teacher_is_a_baseline_by_finding_and_settles_what_excludes(tmp_path):
    run = make_findings_run(tmp_path / "run")
    rows, size = [], max(SIZE_HW)
    for name, prob in (("red", 0.9), ("green", 0.7)):
        probs = np.zeros((size, size), np.float32)
        probs[: SIZE_HW[0]] = np.where(planes_of(PLACES["a1"][0])[0], prob, 0.1)
        maps = torch.from_numpy(probs)
        write_target(run.teacher, "a1", name, Answer(maps, torch.zeros_like(maps), Scores()))
        numbers = (0.0,) * 7
        rows.append(QualityRow("a1", "test", "detected", 1, name, *numbers, True, "", 1.0, name))
    write_table(run.teacher / QUALITY_CSV, QualityRow, rows)
    finish(run.teacher, "distill")
    found = rows_of(evaluate(run))
    assert found["teacher", "a1", "red"].dice == 1
    assert found["teacher", "a1", "green"].missed  # less probable where red is
    assert found["teacher", "b1", "green"].missed  # no target


def test_boxes_alone_are_judged_by_finding(tmp_path, capsys):
    out = evaluate(make_findings_run(tmp_path / "run", with_masks=False))
    rows = rows_of(out, BoxScoreRow, PER_CASE_BOXES_CSV)
    assert rows["student", "a1", "red"].found_50 == 1
    assert rows["student", "a2", "blue"].false_boxes == 1
    assert ("student", "b2", "green") not in rows
    figures = read_json(out / SUMMARY_JSON)["by_boxes"]["student"]
    assert (figures["n"], figures["n_boxes"], figures["n_empty"]) == (6, 6, 2)
    own = figures["by_finding"]
    assert [own[name]["found_50"]["mean"] for name in THREE.names] == pytest.approx([2 / 3, 1, 0])
    assert figures["found_50"]["mean"] == pytest.approx(5 / 9)
    assert own["blue"]["false_per_image"]["mean"] == pytest.approx(2 / 5)
    assert "  green" in capsys.readouterr().out
    assert "By finding, the student" in (out / "report.html").read_text()


def test_the_teacher_is_asked_about_the_boxes_of_each_finding(tmp_path):
    run = make_findings_run(tmp_path / "run", with_masks=False)
    asked = _asked(run, None)
    out = run_eval(run, EvalConfig(ask_teacher="always"), seed=0, predictor=ColourStudent())
    assert "teacher_student" in read_json(out / SUMMARY_JSON)["skipped"]  # no teacher in this RUN
    judged = type("Judged", (), {"case_id": "a1", "mask": None, "boxes": None})()
    there = planes_of(PLACES["a1"][0])
    found = asked(judged, Guess(there))["teacher_student"]
    assert found.masks.shape == there.shape
    assert (found.masks & there).sum() > 0.9 * there.sum()
    assert not found.masks[2].any()


def test_heads_propose_each_finding_and_those_of_others_none(tmp_path):
    run = make_findings_run(tmp_path / "run")
    head = CellHead(torch.zeros(3), torch.ones(3), 3)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    head.layers = torch.nn.Linear(3, 3)  # each finding is where its colour is
    torch.nn.init.constant_(head.layers.bias, -0.1 * 120)
    head.layers.weight.data = 0.1 * torch.eye(3)
    asked = _asked(run, Heads([head.eval().requires_grad_(False)], (0.5, 0.5, 0.5)))
    judged = type("Judged", (), {"case_id": "a1", "mask": "a1.png", "boxes": None})()
    nothing = Guess(np.zeros((3, *SIZE_HW), bool))
    found = asked(judged, nothing)["teacher_head"].masks
    there = planes_of(PLACES["a1"][0])
    assert found.any(axis=(1, 2)).tolist() == [True, True, False]
    for place in (0, 1):  # the maps are eight times coarser than the image
        assert (found[place] & there[place]).any()
        assert not (found[place] & there[1 - place]).any()
    assert "teacher_head" not in _asked(run, Heads([head], (0.5,)))(judged, nothing)


def _asked(run, heads):
    return PromptedTeacher(
        Dataset.open(run.data),
        PaintingTeacher(),
        run.teacher,
        logit_shift=0.0,
        heads=heads,
        frame_size=max(SIZE_HW),
    )


def test_another_tools_label_maps_are_judged_by_finding(tmp_path):
    run = make_findings_run(tmp_path / "run")
    folder = tmp_path / "tool"
    for case_id, (there, *_) in PLACES.items():
        write_png(folder / f"{case_id}.png", THREE.encode(planes_of(there)))
    out = evaluate(run, other=OtherMasks(folder, "nnU-Net"))
    summary = read_json(out / SUMMARY_JSON)["methods"]["other"]
    assert summary["metrics"]["dice"]["mean"] == 1
    assert summary["n_false"] == 0
    write_png(folder / "a1.png", np.full(SIZE_HW, 4, np.uint8))
    with pytest.raises(InputError, match=r"a1\.png is no mask of the findings red, green, blue"):
        evaluate(run, other=OtherMasks(folder, "nnU-Net"), out=tmp_path / "other")


def test_another_tools_masks_may_lie_in_a_folder_a_finding(tmp_path, capfd):
    run = make_findings_run(tmp_path / "run")
    folder = tmp_path / "tool"
    for place in (0, 1):
        for case_id, (there, *_) in PLACES.items():
            mask = planes_of(there)[place].astype(np.uint8) * 255
            write_png(folder / THREE.names[place] / f"{case_id}.png", mask)
    (folder / "green" / "c2.png").unlink()  # nothing is there
    (folder / "green" / "b2.png").unlink()  # and nobody looked for it there
    out = evaluate(run, other=OtherMasks(folder, "nnU-Net"))
    told = " ".join(capfd.readouterr().err.split())
    assert f"1 of 5 cases have no mask in {folder}/green and count as empty; first: c2" in told
    assert f"5 of 5 cases have no mask in {folder}/blue and count as empty" in told
    assert f"{folder}/red" not in told
    own = read_json(out / SUMMARY_JSON)["methods"]["other"]["by_finding"]
    means = [own[name]["metrics"]["dice"]["mean"] for name in THREE.names]
    assert means == [1, 1, 0]  # nothing of blue


def test_folders_of_label_maps_are_judged_by_the_students_findings(tmp_path):
    images, masks, student = (tmp_path / name for name in ("images", "masks", "student"))
    for case_id, (there, *_) in PLACES.items():
        painted = np.where(planes_of(there), 220, 30).astype(np.uint8).transpose(1, 2, 0)
        write_png(images / f"{case_id}.png", np.ascontiguousarray(painted))
        write_png(masks / f"{case_id}.png", THREE.encode(planes_of(there)))
    student.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessing.json"):
        (student / name).write_text("{}")
    request = FolderRequest(images, masks, student, tmp_path / "out")
    out = run_eval_folders(request, EvalConfig(), seed=0, predictor=ColourStudent())
    assert read_json(out / SUMMARY_JSON)["methods"]["student"]["metrics"]["dice"]["mean"] == 1


def test_comparisons_are_paired_by_case_and_finding(evaluated, tmp_path, capsys):
    found = run_compare(f"{evaluated}:student", f"{evaluated}:boxes", seed=0)
    assert found["n"] == len(PLACES)
    by_finding = {name: each["mean"] for name, each in found["dice_by_finding"].items()}
    assert by_finding == pytest.approx({"red": 1 / 3, "green": 1 / 2, "blue": 0})
    assert found["metrics"]["dice"]["mean"] == pytest.approx(5 / 18)
    assert "Dice, green" in capsys.readouterr().out
    rows = read_table(evaluated / PER_CASE_CSV, ScoreRow)
    for name, tag in (("blue", "blue"), ("plain", "")):
        part = [
            dataclasses.replace(row, finding=tag)
            for row in rows
            if row.finding == "blue" and row.method == "student"
        ]
        write_table(tmp_path / name / PER_CASE_CSV, ScoreRow, part)
    assert set(run_compare(str(evaluated), str(tmp_path / "blue"), seed=0)["dice_by_finding"]) == {
        "blue"
    }
    with pytest.raises(InputError, match=r"no case and finding \(red, green, blue; one\)"):
        run_compare(str(evaluated), str(tmp_path / "plain"), seed=0)


def test_no_mean_is_made_of_other_findings(evaluated, tmp_path, capsys):
    rows = read_table(evaluated / PER_CASE_CSV, ScoreRow)
    blue = [row for row in rows if row.finding == "blue"]
    unseen = [row for row in rows if row.finding != "blue" or not row.true_px]
    plain = [dataclasses.replace(row, finding="") for row in blue]
    made = {"twin": rows, "blue": blue, "unseen": unseen, "plain": plain, "one": plain}
    for name, part in made.items():
        write_table(tmp_path / name / PER_CASE_CSV, ScoreRow, part)
        (tmp_path / name / SUMMARY_JSON).write_text(json.dumps({"finding": name}))
    pooled = run_aggregate([evaluated, tmp_path / "twin"], seed=0)
    assert pooled["per_run"][str(evaluated)]["student"] == {"n": 6, "dice": pytest.approx(5 / 9)}
    for name, told in (("blue", "blue"), ("plain", "one finding")):
        told = rf"judges red, green, blue and .*{name} {told}, of which.*--findings"
        with pytest.raises(InputError, match=told):
            run_aggregate([evaluated, tmp_path / name], seed=0)
    capsys.readouterr()
    run_aggregate([evaluated, tmp_path / "unseen"], seed=0)
    assert f"no case of {tmp_path / 'unseen'} shows blue" in capsys.readouterr().err
    run_aggregate([tmp_path / "plain", tmp_path / "one"], seed=0)
    assert "the mean is of findings with other names: plain (" in capsys.readouterr().err
    assert read_json(evaluated / SUMMARY_JSON).get("finding") is None


def test_volumes_have_a_dice_a_finding(tmp_path):
    run = make_findings_run(tmp_path / "run")
    cases = [
        dataclasses.replace(case, source=f"{case.group}.nii.gz#axial{case.case_id[1]}")
        for case in read_cases(run.data)
    ]
    write_table(run.data / CASES_CSV, Case, cases)
    summary = read_json(evaluate(run) / SUMMARY_JSON)
    volumes = {row["volume"]: row for row in summary["volumes"]}
    assert volumes["c.nii.gz"]["dice"]["student"] is None
    assert volumes["a.nii.gz"]["by_finding"]["student"] == {
        "red": pytest.approx(2 / 3),
        "green": 1.0,
    }
    assert volumes["a.nii.gz"]["n_slices"] == 2
    student = summary["methods"]["student"]
    assert student["by_finding"]["red"]["by_volume"]["n"] == 2
    assert student["by_volume"]["dice"]["mean"] == pytest.approx(((2 / 3 + 1) / 2 + 1 + 0) / 3)


def test_truth_of_one_finding_may_be_called_anything(tmp_path):
    run = make_run(tmp_path / "run")
    write_data_yaml(run.data, Findings(("glioma",)), {})
    out = evaluate(run, predictor=BrightnessStudent())
    assert all(not finding and row.dice == 1 for (*_, finding), row in rows_of(out).items())
