"""Volumes judged as bodies: known answers, what is gathered, and what eval writes of them."""

import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from support.evaluation_data import SIZE_HW, BrightnessStudent, finish, make_run

from meddistill.base.csv_tables import read_table, write_table
from meddistill.data.findings import LESION, Findings
from meddistill.data.formats.pictures import read_rgb, write_png
from meddistill.evaluation.metrics import count_overlap, outline_distances
from meddistill.evaluation.report.volume_pictures import (
    PREDICTION,
    TRUTH,
    sheet,
    three_planes,
    thumbnail,
    worst,
)
from meddistill.evaluation.volumes import VolumeRow, WholeVolume
from meddistill.run.layout import CASES_CSV
from meddistill.run.tables import Case, read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.evaluate import EvalConfig
from meddistill.stages.evaluate import run_eval


def cube(corner, side=4, shape=(12, 16, 16)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(start, start + side) for start in corner)] = True
    return mask


@pytest.mark.parametrize(("axis", "distance"), [(0, 3.0), (1, 0.5), (2, 0.8)])
def test_a_shifted_cube_lies_as_far_as_its_spacing_says(axis, distance):
    target = cube((4, 5, 5))
    pred = np.roll(target, 1, axis=axis)
    found = outline_distances(pred, target, (3.0, 0.5, 0.8), tolerance=0.4)
    assert found.hd == pytest.approx(distance)
    assert count_overlap(pred, target).dice == pytest.approx(0.75)
    same = outline_distances(target, target, (3.0, 0.5, 0.8))
    assert (same.hd, same.nsd) == (0.0, 1.0)


def test_an_empty_volume_costs_its_diagonal():
    target = cube((4, 5, 5))
    found = outline_distances(np.zeros_like(target), target, (3.0, 1.0, 1.0))
    assert found.hd95 == pytest.approx(np.sqrt(36**2 + 16**2 + 16**2))
    assert found.nsd == 0


def test_the_box_around_a_cube_changes_no_distance():
    pred, target = cube((4, 5, 5)), cube((5, 6, 4))
    far = np.pad(pred, 9), np.pad(target, 9)
    spacing = (2.0, 1.0, 0.7)
    assert outline_distances(*far, spacing) == outline_distances(pred, target, spacing)


def placed(run, slice_mm):
    """The four test cases as two volumes of two slices, by the columns of cases.csv."""
    cases = []
    for case in read_cases(run.data):
        number = int(case.case_id[1])
        cases.append(
            dataclasses.replace(
                case, volume=f"scans/{case.case_id[0]}.nii", slice=number + 5, slice_mm=slice_mm
            )
        )
    write_table(run.data / CASES_CSV, Case, cases)
    finish(run.data, "prepare")
    return {case.case_id: case for case in cases}


def test_eval_gives_a_row_a_picture_and_intervals_by_volume(tmp_path, capfd):
    run = make_run(tmp_path, spacing_mm="1,2")
    cases = placed(run, 3.0)
    wrong = np.zeros(SIZE_HW, np.uint8)
    wrong[8:18, 9:19] = 255
    write_png(mask_path(run.data, cases["a1"]), wrong)  # the student is off by a pixel there
    out = run_eval(run, EvalConfig(gallery_cases=1), seed=0, predictor=BrightnessStudent())
    rows = read_table(out / "per_volume.csv", VolumeRow)
    assert [(row.volume, row.method, row.n_slices) for row in rows] == [
        ("scans/a.nii", "student", 2),
        ("scans/b.nii", "student", 2),
    ]
    a, b = rows
    assert a.dice == pytest.approx(2 * (90 + 64) / (2 * 164))
    assert a.true_ml == pytest.approx(164 * 6 / 1000)
    assert a.error_ml == 0
    assert (b.dice, b.hd95_mm, b.nsd_mm) == (1, 0, 1)
    summary = json.loads((out / "summary.json").read_text())["whole_volumes"]
    ids = re.findall(r'\bid="([^"]+)"', (out / "report.html").read_text())
    assert {"volumes", "by-volume"} <= set(ids)
    assert len(ids) == len(set(ids))
    dice = summary["methods"]["student"]["metrics"]["dice"]
    assert dice["mean"] == pytest.approx((a.dice + 1) / 2)
    assert dice["ci95"] is not None
    assert {path.name for path in (out / "volumes").iterdir()} == {
        "scans_a.nii.png",
        "scans_b.nii.png",
    }
    picture = read_rgb(out / "volumes" / "scans_a.nii.png")
    assert (picture == (255, 221, 0)).all(axis=2).any()
    assert (picture == (80, 220, 120)).all(axis=2).any()
    assert read_rgb(out / "volumes.png").shape[1] >= 2 * 256
    assert "Whole volumes" in (out / "report.html").read_text()
    assert "Dice 3-D" in capfd.readouterr().out


def test_without_spacing_there_are_no_millimetres(tmp_path):
    run = make_run(tmp_path)
    placed(run, None)
    out = run_eval(run, EvalConfig(gallery_cases=1), seed=0, predictor=BrightnessStudent())
    rows = read_table(out / "per_volume.csv", VolumeRow)
    assert {(row.hd95_mm, row.true_ml, row.nsd_mm) for row in rows} == {(None, None, None)}
    metrics = json.loads((out / "summary.json").read_text())["whole_volumes"]["methods"]["student"]
    assert set(metrics["metrics"]) == {"dice", "volume_error"}
    assert "nothing is given in millimetres" in (out / "report.html").read_text()


def test_a_volume_with_a_hole_is_not_judged_as_a_body(tmp_path, capfd):
    run = make_run(tmp_path)
    cases = placed(run, 3.0)
    cases["a2"] = dataclasses.replace(cases["a2"], slice=9)
    write_table(run.data / CASES_CSV, Case, list(cases.values()))
    finish(run.data, "prepare")
    out = run_eval(run, EvalConfig(gallery_cases=1), seed=0, predictor=BrightnessStudent())
    assert {row.volume for row in read_table(out / "per_volume.csv", VolumeRow)} == {"scans/b.nii"}
    told = " ".join(capfd.readouterr().err.split())
    assert "1 of 2 volumes are judged by their slices alone" in told
    assert "scans/a.nii" in told


def whole_of(*, findings, side=36):
    """A small volume with a square of each finding, of which the student sees the upper half."""
    truth = np.zeros((findings, 4, side, side), bool)
    for place in range(findings):
        truth[place, :, 4:12, 4 + 12 * place : 12 + 12 * place] = True
    pred = truth.copy()
    pred[:, :, 8:] = False
    case = SimpleNamespace(volume="scans/a.nii")
    images = np.full((4, side, side), 90, np.uint8)
    return WholeVolume(case, images, truth, {"student": pred}, None, list(range(findings)))


def test_small_volumes_of_several_findings_are_drawn_large_in_their_colours():
    findings = Findings(("front", "back"), chosen_colours={"front": (9, 99, 255)})
    whole = whole_of(findings=2)
    drawn = thumbnail(whole, findings, 0.5)
    assert drawn.picture.shape == (256, 256, 3)
    for picture in (sheet([drawn], findings, [0, 1]), three_planes(whole, findings)):
        assert picture.shape[0] > 256  # a legend below
        below = picture[256:]
        for colour in findings.colours:
            assert (picture[:256] == colour).all(axis=2).any()
            assert (below == colour).all(axis=2).any()
    inside = drawn.picture[75, 57].astype(int)  # the truth alone, filled
    assert inside[2] - inside[0] > 40


def test_of_one_finding_truth_is_green_and_the_student_yellow():
    whole = whole_of(findings=1)
    picture = three_planes(whole, LESION)
    assert (picture == TRUTH).all(axis=2).any()
    assert (picture == PREDICTION).all(axis=2).any()


@pytest.mark.parametrize(("count", "width"), [(1, 256), (13, 6 * 160), (60, 6 * 160)])
def test_a_sheet_is_readable_of_one_volume_and_of_many(count, width):
    one = thumbnail(whole_of(findings=1), LESION, 0.5)
    many = [dataclasses.replace(one, dice=number / 60) for number in range(count)]
    drawn = sheet(many, LESION, [0])
    assert drawn.shape[1] == pytest.approx(width, abs=20)
    assert drawn.shape[0] < 9 * 170
    assert [each.dice for each in worst(many[::-1])] == [each.dice for each in many[:48]]
